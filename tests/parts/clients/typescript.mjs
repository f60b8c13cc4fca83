// A full visit with an official TypeScript client: login found from the 401 alone, list, call, progress, GET stream.
//
//   node typescript.mjs v1|v2|sse URL LOGIN TOOL ARGUMENTS [MODE]
//
// `sse` is v1 over HTTP+SSE. MODE (v2 only) is `auto`, `legacy`, or a revision. Prints one JSON line.
import { Memory } from './browser.mjs';

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

let [client, transport] = make();
try {
  await client.connect(transport);
} catch (error) {
  if (!memory.callback) throw error;
  if (family !== 'v2') await transport.finishAuth(memory.callback.get('code'));
  else await transport.finishAuth(memory.callback);
  [client, transport] = make();
  await client.connect(transport);
}
const tools = (await client.listTools()).tools.map((each) => each.name);
const progress = [];
const result = await client.callTool({ name: tool, arguments: JSON.parse(args) }, ...(family !== 'v2'
  ? [undefined, { onprogress: (step) => progress.push(step.progress) }]
  : [{ onprogress: (step) => progress.push(step.progress) }]));
const session = transport.sessionId ?? null;
if (session) await transport.terminateSession();
await client.close();
process.stdout.write(`${JSON.stringify({
  logins: memory.logins,
  asked: memory.asked ?? null,
  registered: Boolean(memory.information),
  refresh_token: Boolean(memory.kept?.refresh_token),
  tools,
  text: result.content?.[0]?.text ?? null,
  progress,
  session: Boolean(session),
  revision: client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion ?? null,
  requests,
})}\n`);
process.exit(0);
