// A scripted person at a browser: follows redirects, keeps cookies, signs in at the provider's form, and approves on
// the proxy's consent page. It says about its requests what a real browser says.
import http from 'node:http';

// One request of a navigation. Node's own fetch would say that it is a script.
function navigate(url, { method, body, headers }) {
  return new Promise((done, fail) => {
    const request = http.request(url, { method, headers, agent: false }, (answer) => {
      const chunks = [];
      answer.on('data', (chunk) => chunks.push(chunk));
      answer.on('error', fail);
      answer.on('end', () => done({ status: answer.statusCode, headers: answer.headers, html: Buffer.concat(chunks).toString() }));
    });
    request.on('error', fail);
    request.end(body);
  });
}

const entities = { quot: '"', '#34': '"', '#39': "'", '#x27': "'", lt: '<', gt: '>', '#38': '&', amp: '&' };
const plain = (text) => text.replace(/&(\w+|#\w+);/g, (whole, name) => entities[name] ?? whole);
const attribute = (tag, name) => {
  const found = tag.match(new RegExp(`\\s${name}=(?:"([^"]*)"|'([^']*)'|([^\\s>]*))`));
  return found ? plain(found[1] ?? found[2] ?? found[3]) : undefined;
};

// The forms of a page: address and fields.
function forms(html, url) {
  return [...html.matchAll(/<form[\s\S]*?<\/form>/g)].map(([form]) => {
    const fields = new URLSearchParams();
    for (const [tag] of form.matchAll(/<input[^>]*>/g)) {
      const name = attribute(tag, 'name');
      if (name) fields.set(name, attribute(tag, 'value') ?? '');
    }
    return { action: new URL(attribute(form.match(/<form[^>]*>/)[0], 'action') ?? '', url), fields };
  });
}

export class Browser {
  constructor(login) {
    this.login = login;
    // Host to cookies: ports do not separate them (RFC 6265 section 8.5).
    this.cookies = new Map();
  }

  // Walks from an authorization address to the client's redirect address, and gives the latter as it was called. The
  // client itself has to be there only if `visit` is set.
  async authorize(start, redirectUri, { visit = false } = {}) {
    let url = new URL(start);
    let step = { method: 'GET' };
    let site = 'none';
    for (let count = 0; count < 30; count += 1) {
      if (`${url.origin}${url.pathname}` === redirectUri) {
        if (visit) await this.arrive(url);
        return url;
      }
      const jar = this.cookies.get(url.hostname) ?? new Map();
      this.cookies.set(url.hostname, jar);
      const answer = await navigate(url, {
        ...step,
        headers: {
          accept: 'text/html,application/xhtml+xml,*/*;q=0.8',
          'user-agent': 'Mozilla/5.0 (X11; Linux x86_64) Test/1.0',
          'sec-fetch-mode': 'navigate',
          'sec-fetch-dest': 'document',
          'sec-fetch-site': site,
          ...(jar.size ? { cookie: [...jar].map(([name, value]) => `${name}=${value}`).join('; ') } : {}),
          ...step.headers,
        },
      });
      for (const line of answer.headers['set-cookie'] ?? []) {
        const [, name, value] = line.match(/^([^=]+)=([^;]*)/);
        if (value && !/;\s*max-age=0/i.test(line)) jar.set(name, value); else jar.delete(name);
      }
      if (answer.headers.location) {
        const next = new URL(answer.headers.location, url);
        if (site !== 'none' && next.origin !== url.origin) site = 'cross-site';
        url = next;
        step = { method: 'GET' };
        continue;
      }
      const form = this.fill(forms(answer.html, url));
      if (!form) throw new Error(`nothing to do at ${url}: ${answer.status} ${answer.html}`);
      site = form.action.origin === url.origin ? 'same-origin' : 'cross-site';
      step = {
        method: 'POST',
        body: form.fields.toString(),
        headers: { 'content-type': 'application/x-www-form-urlencoded', origin: url.origin },
      };
      url = form.action;
    }
    throw new Error('too many steps');
  }

  // What a person does with a page: signs in at the provider, approves at the proxy.
  fill(all) {
    const consent = all.find((form) => form.action.pathname === '/oauth2/consent');
    if (consent) {
      consent.fields.set('decision', 'approve');
      return consent;
    }
    const sign_in = all.find((form) => form.fields.has('password'));
    sign_in?.fields.set(sign_in.fields.has('username') ? 'username' : 'login', this.login);
    sign_in?.fields.set('password', this.login);
    return sign_in;
  }

  // Calls the client back. Some start to listen only once the browser was opened.
  async arrive(url) {
    for (let left = 100; ; left -= 1) {
      try {
        return await navigate(url, { method: 'GET', headers: { accept: 'text/html' } });
      } catch (error) {
        if (error.code !== 'ECONNREFUSED' || left === 0) throw error;
        await new Promise((done) => { setTimeout(done, 100); });
      }
    }
  }
}

// What an MCP client remembers about its authorization, in memory.
export class Memory {
  redirectUrl = 'http://127.0.0.1:3999/callback';
  // How often the person was sent to the provider, and whether a registration took place.
  logins = 0;
  constructor(login) { this.browser = new Browser(login); }
  get clientMetadata() {
    return {
      client_name: 'a test client',
      redirect_uris: [this.redirectUrl],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    };
  }
  // The address of the document that describes the client, if it has one; then it need not register.
  get clientMetadataUrl() { return process.env.CLIENT_METADATA_URL || undefined; }
  state() { return 'a-state-of-the-client'; }
  clientInformation() { return this.information; }
  saveClientInformation(information) { this.information = information; }
  tokens() { return this.kept; }
  saveTokens(tokens) { this.kept = tokens; }
  saveCodeVerifier(verifier) { this.verifier = verifier; }
  codeVerifier() { return this.verifier; }
  async redirectToAuthorization(url) {
    this.logins += 1;
    this.asked = Object.fromEntries(url.searchParams);
    this.callback = (await this.browser.authorize(url, this.redirectUrl)).searchParams;
    if (this.callback.get('state') !== this.state()) throw new Error('the state came back changed');
  }
}
