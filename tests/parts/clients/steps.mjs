// A visit in steps: one JSON command a line on standard input, one JSON line `{"reply": …}` for each.
//
//   {"do":"list"}                                   the names of the tools
//   {"do":"call","tool":"…","arguments":{}}         the text of a call's result, and its progress
//   {"do":"later","seconds":660}                    the client's own clock steps forward
//   {"do":"quit"}                                   the client ends in order
//
// `client` has a function for each. What it throws is a reply too: `{"reply":{"error":"…"}}`.
import { createInterface } from 'node:readline';

export async function steps(client) {
  const say = (reply) => process.stdout.write(`${JSON.stringify({ reply })}\n`);
  say({ ready: true });
  for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    try {
      say(await client[command.do](command) ?? {});
    } catch (error) {
      say({ error: String(error?.stack ?? error) });
    }
    if (command.do === 'quit') break;
  }
  process.exit(0);
}
