// A visit with an official TypeScript client: login found from the 401 alone, list, call, progress, GET stream.
//
//   node typescript.mjs v1|v2|sse URL LOGIN TOOL ARGUMENTS [MODE]    a whole visit; prints one JSON line
//   node typescript.mjs v1|v2|sse URL LOGIN - - [MODE]               step by step; see steps.mjs
//
// `sse` is v1 over HTTP+SSE. MODE (v2 only) is `auto`, `legacy`, or a revision.
import { Memory } from './browser.mjs';
import { steps } from './steps.mjs';

const [family, url, login, tool, args, mode] = process.argv.slice(2);
let sdk;
if (family !== 'v2') {
  const [client, transport, sse] = await Promise.all([
    import('@modelcontextprotocol/sdk/client/index.js'),
    import('@modelcontextprotocol/sdk/client/streamableHttp.js'),
    family === 'sse' ? import('@modelcontextprotocol/sdk/client/sse.js') : {},
  ]);
  sdk = { ...client, ...transport, ...sse };
} else {
  sdk = await import('@modelcontextprotocol/client');
}

const memory = new Memory(login);
const requests = [];
const counted = async (target, init) => {
  const answer = await fetch(target, init);
  requests.push({ method: init?.method ?? 'GET', path: new URL(target).pathname, status: answer.status });
  return answer;
};
const options = mode ? { versionNegotiation: { mode: mode === 'auto' || mode === 'legacy' ? mode : { pin: mode } } } : {};
const make = () => [
  new sdk.Client({ name: 'test', version: '1.0.0' }, options),
  new (family === 'sse' ? sdk.SSEClientTransport : sdk.StreamableHTTPClientTransport)(new URL(url), { authProvider: memory, fetch: counted }),
];

let client;
let transport;
// What the person came back with, handed to the client, which asks for tokens with it.
async function approved(error) {
  const callback = memory.callback;
  if (!callback) throw error;
  memory.callback = undefined;
  await transport.finishAuth(family === 'v2' ? callback : callback.get('code'));
}
async function connect() {
  [client, transport] = make();
  try {
    await client.connect(transport);
  } catch (error) {
    await approved(error);
    [client, transport] = make();
    await client.connect(transport);
  }
}
const list = async () => (await client.listTools()).tools.map((each) => each.name);
async function call(name, given) {
  const progress = [];
  const result = await client.callTool({ name, arguments: given }, ...(family !== 'v2'
    ? [undefined, { onprogress: (step) => progress.push(step.progress) }]
    : [{ onprogress: (step) => progress.push(step.progress) }]));
  return { text: result.content?.[0]?.text ?? null, progress };
}
const revision = () => client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion ?? null;
async function end() {
  const session = transport.sessionId ?? null;
  if (session) await transport.terminateSession();
  await client.close();
  return Boolean(session);
}

await connect();
if (tool === '-') {
  await steps({
    list: async () => ({ tools: await list(), revision: revision() }),
    // A call that lacks scopes sends the person to approve again; it is the application that repeats it.
    call: async (command) => {
      try {
        return await call(command.tool, command.arguments);
      } catch (error) {
        await approved(error);
        return call(command.tool, command.arguments);
      }
    },
    // These clients do not look at the time: they learn from a 401 that a token is over.
    later: () => {},
    quit: async () => { await end(); },
  });
}
const tools = await list();
const called = await call(tool, JSON.parse(args));
const told = revision();
const session = await end();
process.stdout.write(`${JSON.stringify({
  logins: memory.logins,
  asked: memory.asked ?? null,
  registered: Boolean(memory.information),
  refresh_token: Boolean(memory.kept?.refresh_token),
  tools,
  ...called,
  session,
  revision: told,
  requests,
})}\n`);
process.exit(0);
