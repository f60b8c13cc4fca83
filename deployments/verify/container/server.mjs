// An MCP server as pods hold it: listens on HOST and PORT only, has a health page, ends on SIGTERM when its calls have ended.
//
//   tools: echo {message}, wait {seconds}
import { createServer } from 'node:http';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { z } from 'zod';

const text = (text) => ({ content: [{ type: 'text', text }] });
const handle = toNodeHandler(createMcpHandler(() => {
  const server = new McpServer({ name: 'pod', version: '1.0.0' });
  server.registerTool('echo', { description: 'Says it again', inputSchema: z.object({ message: z.string() }) }, ({ message }) => text(`Echo: ${message}`));
  server.registerTool('wait', { description: 'Takes its time', inputSchema: z.object({ seconds: z.number() }) }, async ({ seconds }) => {
    await new Promise((done) => { setTimeout(done, seconds * 1000); });
    return text('waited');
  });
  return server;
}));

const server = createServer((request, response) => {
  if (request.url === '/health') response.end('ok');
  else handle(request, response);
});
server.listen(Number(process.env.PORT), process.env.HOST, () => console.log(`listening on ${process.env.HOST}:${process.env.PORT}`));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
