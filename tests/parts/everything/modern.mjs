// A server of the 2026-07-28 revision with the tools, prompts and resources that the conformance suite asks for by
// name. Made with the official TypeScript server package; ends when its standard input closes.
//
//   node modern.mjs        prints one JSON line with its address
import { createServer } from 'node:http';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, McpServer, ResourceTemplate } from '@modelcontextprotocol/server';
import { z } from 'zod';

// One pixel of PNG, and a WAV file without samples.
const image = { data: 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==', mimeType: 'image/png' };
const audio = { data: 'UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=', mimeType: 'audio/wav' };

const text = (text) => ({ type: 'text', text });
const resource = (uri, mimeType, text) => ({ type: 'resource', resource: { uri, mimeType, text } });
const said = (...content) => ({ messages: content.map((content) => ({ role: 'user', content })) });

function tools(server) {
  const tool = (name, run) => server.registerTool(name, { description: name.replaceAll('_', ' '), inputSchema: z.object({}) }, (_, context) => run(context));
  tool('test_simple_text', () => ({ content: [text('This is a simple text response for testing.')] }));
  tool('test_image_content', () => ({ content: [{ type: 'image', ...image }] }));
  tool('test_audio_content', () => ({ content: [{ type: 'audio', ...audio }] }));
  tool('test_embedded_resource', () => ({ content: [resource('test://embedded-resource', 'text/plain', 'This is an embedded resource content.')] }));
  tool('test_multiple_content_types', () => ({
    content: [text('Several types of content:'), { type: 'image', ...image }, resource('test://mixed-content-resource', 'application/json', '{"test":"data","value":123}')],
  }));
  tool('test_error_handling', () => {
    throw new Error('This tool intentionally returns an error for testing');
  });
  tool('test_tool_with_logging', async ({ mcpReq }) => {
    for (const step of ['started', 'processing data', 'completed']) await mcpReq.log('info', `Tool execution ${step}`);
    return { content: [text('Logged.')] };
  });
  tool('test_tool_with_progress', async ({ mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken ?? 0;
    for (const progress of [0, 50, 100]) {
      await mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress, total: 100 } });
    }
    return { content: [text(String(progressToken))] };
  });
}

function prompts(server) {
  server.registerPrompt('test_simple_prompt', { description: 'A simple prompt' }, () => said(text('This is a simple prompt for testing.')));
  const two = z.object({ arg1: z.string(), arg2: z.string() });
  server.registerPrompt('test_prompt_with_arguments', { description: 'Two arguments', argsSchema: two }, ({ arg1, arg2 }) => said(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)));
  const one = z.object({ resourceUri: z.string() });
  server.registerPrompt('test_prompt_with_embedded_resource', { description: 'A resource', argsSchema: one }, ({ resourceUri }) =>
    said(resource(resourceUri, 'text/plain', 'Embedded resource content for testing.'), text('Please process the embedded resource above.')),
  );
  server.registerPrompt('test_prompt_with_image', { description: 'An image' }, () => said({ type: 'image', ...image }, text('Please analyze the image above.')));
}

function resources(server) {
  const fixed = (name, mimeType, contents) =>
    server.registerResource(name, `test://${name}`, { mimeType }, (uri) => ({ contents: [{ uri: uri.href, mimeType, ...contents }] }));
  fixed('static-text', 'text/plain', { text: 'This is the content of the static text resource.' });
  fixed('static-binary', 'image/png', { blob: image.data });
  fixed('watched-resource', 'text/plain', { text: 'Watched.' });
  server.registerResource('template', new ResourceTemplate('test://template/{id}/data', { list: undefined }), { mimeType: 'application/json' }, (uri, { id }) => ({
    contents: [{ uri: uri.href, mimeType: 'application/json', text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }) }],
  }));
}

const handler = createMcpHandler(() => {
  const server = new McpServer({ name: 'modern', version: '1.0.0' }, { capabilities: { logging: {} } });
  for (const add of [tools, prompts, resources]) add(server);
  return server;
});
const serve = toNodeHandler(handler);
const listening = createServer((request, response) => {
  if (new URL(request.url, 'http://localhost').pathname === '/mcp') return serve(request, response);
  response.writeHead(404).end();
});
process.stdin.on('end', () => process.exit(0)).resume();
listening.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${listening.address().port}`, pid: process.pid })}\n`);
});
