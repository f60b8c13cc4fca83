// A scripted browser for the clients' login: follows redirects by HTTP, keeps cookies, fills the provider's form.

// Walks from an authorization address to the client's redirect address; gives the query of the latter.
export async function authorize(start, login, redirectUri) {
  const cookies = new Map();
  let url = new URL(start);
  let init = {};
  for (let step = 0; step < 20; step += 1) {
    if (`${url.origin}${url.pathname}` === redirectUri) return url.searchParams;
    const answer = await fetch(url, {
      ...init,
      redirect: 'manual',
      headers: {
        ...init.headers,
        accept: 'text/html',
        cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; '),
      },
    });
    for (const line of answer.headers.getSetCookie()) {
      const [, name, value] = line.match(/^([^=]+)=([^;]*)/);
      if (value) cookies.set(name, value); else cookies.delete(name);
    }
    const location = answer.headers.get('location');
    if (location) {
      url = new URL(location, url);
      init = {};
      continue;
    }
    const html = await answer.text();
    const action = html.match(/<form[^>]*action="([^"]*)"/)?.[1];
    if (!action) throw new Error(`no form at ${url}: ${answer.status} ${html}`);
    const fields = new URLSearchParams();
    for (const [tag] of html.matchAll(/<input[^>]*>/g)) {
      const name = tag.match(/name="([^"]*)"/)?.[1];
      if (name) fields.set(name, tag.match(/value="([^"]*)"/)?.[1] ?? '');
    }
    fields.set(fields.has('username') ? 'username' : 'login', login);
    fields.set('password', login);
    url = new URL(action.replaceAll('&amp;', '&'), url);
    init = { method: 'POST', body: fields.toString(), headers: { 'content-type': 'application/x-www-form-urlencoded' } };
  }
  throw new Error('too many steps');
}

// What an MCP client remembers about its authorization, in memory.
export class Memory {
  redirectUrl = 'http://127.0.0.1:3999/callback';
  // How often the person was sent to the provider, and whether a registration took place.
  logins = 0;
  constructor(login) { this.login = login; }
  get clientMetadata() {
    return {
      client_name: 'a test client',
      redirect_uris: [this.redirectUrl],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    };
  }
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
    this.callback = await authorize(url, this.login, this.redirectUrl);
    if (this.callback.get('state') !== this.state()) throw new Error('the state came back changed');
  }
}
