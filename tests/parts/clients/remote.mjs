// A visit with mcp-remote, step by step (see steps.mjs): a client that knows only stdio talks to it, as a desktop app
// would. It opens a browser by itself: `BROWSER`.
//
//   node remote.mjs URL MODE FOLDER
//
// MODE is `legacy` or `auto`. FOLDER is where it keeps its tokens and we its clock.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { steps } from './steps.mjs';

const [url, mode, folder] = process.argv.slice(2);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const clock = join(folder, 'clock');
let ahead = 0;
writeFileSync(clock, '0');

const client = new Client({ name: 'test', version: '1.0.0' });
const transport = new StdioClientTransport({
  command: process.execPath,
  args: ['--no-warnings', '--import', here('clock.mjs'), here('../node_modules/mcp-remote/dist/proxy.js'), url, '--protocol', mode],
  env: { ...process.env, CLOCK: clock, MCP_REMOTE_CONFIG_DIR: folder },
  stderr: 'inherit',
});
await client.connect(transport);
// Progress is taken from the wire: when it comes in one piece with the result, this SDK's client forgets whom to tell.
let progress = [];
const dispatch = transport.onmessage;
transport.onmessage = (message) => {
  if (message.method === 'notifications/progress') progress.push(message.params.progress);
  dispatch(message);
};
await steps({
  list: async () => ({ tools: (await client.listTools()).tools.map((each) => each.name) }),
  call: async (command) => {
    progress = [];
    const result = await client.callTool({ name: command.tool, arguments: command.arguments }, undefined, { onprogress() {} });
    return { text: result.content?.[0]?.text ?? null, progress };
  },
  later: (command) => {
    ahead += command.seconds;
    writeFileSync(clock, String(ahead));
  },
  quit: () => client.close(),
});
