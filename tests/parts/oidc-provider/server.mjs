// A certified OIDC provider (npm oidc-provider) for tests: scripted login, open client registration,
// resource indicators, refresh rotation, faults on demand.
//
//   node server.mjs '{"access_token_ttl":60}'
//
// Prints one JSON line {"issuer", "control", "pid"} when it serves on a free port of `host`, and ends
// when its standard input closes. Options, all with defaults: see `options` below.
//
// Control listener (JSON in, JSON out, loopback only):
//   POST /faults   {"path":"/token","status":503,"delay_ms":0,"hang":false,"times":1}   one more fault
//   DELETE /faults                                                          no faults any more
//   POST /rotate   new signing keys; the old ones leave the JWKS
//   POST /mint     {"claims":{},"header":{},"key":"current|old|foreign|none","alg":"RS256"} a token
//   GET /requests  what the token, userinfo, registration and other endpoints were asked; DELETE empties it
//   POST /backchannel {"uri":"http://..."}  where the client `proxy` is told that a session has ended
//   POST /revoke   {"login":"ann"} ends every grant and session of a person
import http from 'node:http';
import crypto from 'node:crypto';
import Provider, { errors } from 'oidc-provider';
import * as jose from 'jose';

const options = {
  // The address that it listens on and that is in its issuer.
  host: '127.0.0.1',
  // Seconds that an access token of a resource (a JWT) and any other access token live.
  access_token_ttl: 300,
  id_token_ttl: 3600,
  // How access tokens for a resource are signed.
  token_alg: 'RS256',
  // Claims of scopes also in the ID token; false: at userinfo only, as the specification reads.
  claims_in_id_token: true,
  // Refresh tokens can be used once.
  rotate: true,
  // Whether a refresh token is given without `offline_access`.
  always_refresh: true,
  // Whether clients may register themselves.
  registration: true,
  // The public key (JWK) of the client `proxy-jwt`.
  client_jwk: undefined,
  ...JSON.parse(process.argv[2] ?? '{}'),
};

const people = {
  ann: { name: 'Ann Adams', email: 'ann@example.com', email_verified: true, groups: ['engineering', 'staff'] },
  bob: { name: 'Bob Brown', email: 'bob@example.org', email_verified: true, groups: ['sales'] },
  eve: { name: 'Eve Evans', email: 'eve@example.com', email_verified: false, groups: [] },
};

const callbacks = ['http://127.0.0.1/oauth2/callback', 'http://localhost/oauth2/callback'];
const afterLogout = ['http://127.0.0.1/', 'http://localhost/', 'http://127.0.0.1/oauth2/sign_in', 'http://localhost/oauth2/sign_in',
  'http://127.0.0.1/oauth2/sign_out', 'http://localhost/oauth2/sign_out'];
// Native clients may come back to any port of the loopback interface (RFC 8252 section 7.3), which tests need.
const client = (client_id, more) => ({
  client_id,
  application_type: 'native',
  redirect_uris: callbacks,
  post_logout_redirect_uris: afterLogout,
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  ...more,
});
const secret = 'a-secret-of-the-proxy-at-the-provider';
const clients = [
  client('proxy', { client_secret: secret, token_endpoint_auth_method: 'client_secret_basic' }),
  client('proxy-post', { client_secret: secret, token_endpoint_auth_method: 'client_secret_post' }),
  client('proxy-public', { token_endpoint_auth_method: 'none' }),
  {
    client_id: 'machine',
    client_secret: secret,
    token_endpoint_auth_method: 'client_secret_basic',
    grant_types: ['client_credentials'],
    response_types: [],
    redirect_uris: [],
  },
];
if (options.client_jwk) {
  clients.push(client('proxy-jwt', {
    token_endpoint_auth_method: 'private_key_jwt',
    token_endpoint_auth_signing_alg: options.client_jwk.kty === 'EC' ? 'ES256' : 'RS256',
    jwks: { keys: [options.client_jwk] },
  }));
}

// --- state that outlives a key rotation -------------------------------------------------------------

const records = new Map();
const grants = new Map();
class Adapter {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  async upsert(id, payload, expiresIn) {
    records.set(this.key(id), { payload, until: expiresIn ? Date.now() + expiresIn * 1000 : Infinity });
    if (payload.grantId) {
      const ids = grants.get(payload.grantId) ?? new Set();
      ids.add(this.key(id));
      grants.set(payload.grantId, ids);
    }
  }
  async find(id) {
    const record = records.get(this.key(id));
    if (!record) return undefined;
    if (record.until < Date.now()) { records.delete(this.key(id)); return undefined; }
    return structuredClone(record.payload);
  }
  async findBy(field, value) {
    for (const [key, { payload, until }] of records) {
      if (key.startsWith(`${this.model}:`) && payload[field] === value && until >= Date.now()) return structuredClone(payload);
    }
    return undefined;
  }
  findByUid(uid) { return this.findBy('uid', uid); }
  findByUserCode(code) { return this.findBy('userCode', code); }
  async consume(id) {
    const record = records.get(this.key(id));
    if (record) record.payload.consumed = Math.floor(Date.now() / 1000);
  }
  async destroy(id) { records.delete(this.key(id)); }
  async revokeByGrantId(grantId) {
    for (const key of grants.get(grantId) ?? []) records.delete(key);
    grants.delete(grantId);
  }
}

async function newKeys() {
  const make = async (alg) => {
    const { privateKey } = await jose.generateKeyPair(alg, { extractable: true });
    return { ...(await jose.exportJWK(privateKey)), alg, use: 'sig', kid: crypto.randomUUID() };
  };
  return [await make('RS256'), await make('ES256')];
}

// --- the provider -----------------------------------------------------------------------------------

const escape = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const page = (title, body) => `<!doctype html><html lang="en"><meta charset="utf-8"><title>${escape(title)}</title><body>${body}</body></html>`;

function makeProvider(issuer, keys) {
  const provider = new Provider(issuer, {
    adapter: Adapter,
    clients,
    jwks: { keys },
    cookies: { keys: ['a key for the cookies of the test provider'] },
    claims: {
      openid: ['sub'],
      email: ['email', 'email_verified'],
      profile: ['name', 'preferred_username', 'groups'],
      groups: ['groups'],
    },
    scopes: ['openid', 'offline_access', 'mcp'],
    conformIdTokenClaims: !options.claims_in_id_token,
    clientBasedCORS: () => true,
    // It would refuse to tell anybody on loopback, where the tests are.
    fetch: (url, { dispatcher, ...rest }) => fetch(url, rest),
    pkce: { required: () => true },
    rotateRefreshToken: options.rotate,
    expiresWithSession: () => false,
    issueRefreshToken: (_ctx, who, code) => who.grantTypeAllowed('refresh_token')
      && (options.always_refresh || code.scopes.has('offline_access')),
    extraTokenClaims: (_ctx, token) => {
      const person = people[token.accountId];
      return person ? { groups: person.groups, email: person.email } : undefined;
    },
    ttl: {
      AccessToken: options.access_token_ttl,
      ClientCredentials: options.access_token_ttl,
      IdToken: options.id_token_ttl,
      AuthorizationCode: 60,
      Interaction: 600,
      Session: 86400,
      Grant: 86400,
      RefreshToken: 86400,
    },
    findAccount: (_ctx, id) => people[id] && {
      accountId: id,
      claims: () => ({ sub: id, preferred_username: id, ...people[id] }),
    },
    // Consent is not what these tests are about: a person who logs in agrees to everything.
    loadExistingGrant: async (ctx) => {
      const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope('openid email profile groups offline_access mcp');
      for (const resource of [ctx.oidc.params.resource ?? []].flat()) grant.addResourceScope(resource, 'mcp openid email profile groups offline_access');
      await grant.save();
      return grant;
    },
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    renderError: (ctx, out) => {
      ctx.type = 'html';
      ctx.body = page('Provider error', `<h1>Provider error</h1><p id="error">${escape(out.error)}</p><p>${escape(out.error_description)}</p>`);
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      backchannelLogout: { enabled: true },
      registration: { enabled: options.registration, initialAccessToken: false },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (ctx, form) => {
          ctx.body = page('Sign out', `<h1>Sign out of the provider?</h1>${form}<button type="submit" form="op.logoutForm" name="logout" value="yes">Yes</button>`);
        },
        postLogoutSuccessSource: (ctx) => { ctx.body = page('Signed out', '<h1>Signed out of the provider</h1>'); },
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        getResourceServerInfo: (_ctx, resource) => {
          if (resource.includes('forbidden')) throw new errors.InvalidTarget();
          return {
            audience: resource,
            scope: 'mcp openid email profile groups offline_access',
            accessTokenFormat: 'jwt',
            accessTokenTTL: options.access_token_ttl,
            jwt: { sign: { alg: options.token_alg } },
          };
        },
      },
    },
  });
  provider.use(interactions(provider));
  provider.on('backchannel.error', (_ctx, error) => console.error('backchannel.error', error));
  provider.on('server_error', (_ctx, error) => console.error('server_error', error));
  return provider;
}

// The login page, and what becomes of it. Consent answers itself.
function interactions(provider) {
  return async (ctx, next) => {
    const [, uid, action] = ctx.path.match(/^\/interaction\/([\w-]+)(\/login|\/abort)?$/) ?? [];
    if (!uid) return next();
    const details = await provider.interactionDetails(ctx.req, ctx.res);
    if (action === '/abort') {
      return finish({ error: 'access_denied', error_description: 'The person said no' });
    }
    if (action === '/login' && ctx.method === 'POST') {
      const form = new URLSearchParams(await body(ctx.req));
      const login = form.get('login');
      if (!people[login] || form.get('password') !== login) {
        ctx.status = 401;
        ctx.type = 'html';
        ctx.body = loginPage(uid, 'Unknown user or wrong password');
        return undefined;
      }
      return finish({ login: { accountId: login } });
    }
    if (details.prompt.name === 'consent') {
      const grant = new provider.Grant({ accountId: details.session.accountId, clientId: details.params.client_id });
      grant.addOIDCScope('openid email profile groups offline_access mcp');
      for (const resource of [details.params.resource ?? []].flat()) grant.addResourceScope(resource, 'mcp openid email profile groups offline_access');
      return finish({ consent: { grantId: await grant.save() } });
    }
    ctx.type = 'html';
    ctx.body = loginPage(uid, '');
    return undefined;

    function finish(result) {
      ctx.respond = false;
      return provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: true });
    }
  };
}

const loginPage = (uid, note) => page('Test provider', `<h1>Test provider</h1><p>${escape(note)}</p>
<form method="post" action="/interaction/${uid}/login">
<label>Login <input name="login" autofocus></label><label>Password <input name="password" type="password"></label>
<button type="submit">Log in</button></form><a href="/interaction/${uid}/abort">Cancel</a>`);

async function body(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

// --- faults, keys, tokens on demand -----------------------------------------------------------------

let keys = await newKeys();
let oldKeys = [];
const foreignKeys = await newKeys();
let faults = [];
let requests = [];
let handle;

const server = http.createServer(async (req, res) => {
  const url = new URL(req.url, 'http://provider');
  // What was asked, without anything that the tests could not show in a log.
  if (requests.length < 1000 && !url.pathname.startsWith('/interaction/')) {
    requests.push({
      method: req.method,
      path: url.pathname,
      query: Object.fromEntries(url.searchParams),
      authorization: req.headers.authorization?.split(' ')[0] ?? null,
    });
  }
  const fault = faults.find((f) => f.path === url.pathname && f.times > 0);
  if (fault) {
    fault.times -= 1;
    if (fault.hang) return;
    if (fault.delay_ms) await new Promise((done) => { setTimeout(done, fault.delay_ms); });
    if (fault.status) {
      req.resume();
      res.writeHead(fault.status, { 'content-type': 'application/json', ...(fault.headers ?? {}) });
      res.end(fault.body ?? JSON.stringify({ error: fault.error ?? 'temporarily_unavailable' }));
      return;
    }
  }
  handle(req, res);
});

const control = http.createServer(async (req, res) => {
  const answer = (value) => {
    res.writeHead(200, { 'content-type': 'application/json' });
    res.end(JSON.stringify(value));
  };
  try {
    const text = await body(req);
    const given = text ? JSON.parse(text) : {};
    switch (`${req.method} ${req.url}`) {
      case 'POST /faults':
        faults.push({ times: 1, ...given });
        return answer({ faults: faults.length });
      case 'DELETE /faults':
        faults = [];
        return answer({});
      case 'POST /rotate':
        oldKeys = keys;
        keys = await newKeys();
        handle = makeProvider(issuer, keys).callback();
        return answer({ kids: keys.map((key) => key.kid) });
      case 'POST /backchannel':
        Object.assign(clients[0], { backchannel_logout_uri: given.uri, backchannel_logout_session_required: true });
        handle = makeProvider(issuer, keys).callback();
        return answer({});
      case 'POST /mint':
        return answer({ token: await mint(given) });
      case 'GET /requests':
        return answer(requests);
      case 'DELETE /requests':
        requests = [];
        return answer({});
      case 'POST /revoke':
        for (const [key, { payload }] of records) if (payload.accountId === given.login) records.delete(key);
        return answer({});
      default:
        res.writeHead(404).end();
        return undefined;
    }
  } catch (error) {
    res.writeHead(400, { 'content-type': 'application/json' });
    return res.end(JSON.stringify({ error: String(error?.stack ?? error) }));
  }
});

async function mint({ claims = {}, header = {}, key = 'current', alg = 'RS256' }) {
  const now = Math.floor(Date.now() / 1000);
  const payload = { iss: issuer, sub: 'ann', iat: now, exp: now + 300, jti: crypto.randomUUID(), ...claims };
  for (const name of Object.keys(payload)) if (payload[name] === null) delete payload[name];
  if (key === 'none') return new jose.UnsecuredJWT(payload).encode();
  const set = { current: keys, old: oldKeys, foreign: foreignKeys }[key];
  const jwk = set.find((candidate) => candidate.alg === alg);
  if (!jwk) throw new Error(`no ${alg} key in ${key}`);
  const protectedHeader = { alg, kid: jwk.kid, typ: 'at+jwt', ...header };
  for (const name of Object.keys(protectedHeader)) if (protectedHeader[name] === null) delete protectedHeader[name];
  const signer = new jose.SignJWT(payload).setProtectedHeader(protectedHeader);
  const crit = Object.fromEntries((protectedHeader.crit ?? []).map((name) => [name, true]));
  return signer.sign(await jose.importJWK(jwk, alg), { crit });
}

const listen = (which, host) => new Promise((done) => { which.listen(0, host, () => done(which.address().port)); });
const issuer = `http://${options.host}:${await listen(server, options.host)}`;
handle = makeProvider(issuer, keys).callback();
const controlUrl = `http://127.0.0.1:${await listen(control, '127.0.0.1')}`;
process.stdin.on('end', () => process.exit(0)).resume();
process.stdout.write(`${JSON.stringify({ issuer, control: controlUrl, pid: process.pid })}\n`);
