//! What to open, and what to paste where.

use crate::stack::Addresses;

/// Prints it.
pub(crate) fn print(addresses: &Addresses) {
    let Addresses {
        proxy,
        idp,
        mcp,
        metrics,
    } = addresses;
    println!(
        r#"
The demo is up. Everything is on this machine; Ctrl-C ends it, and then it has forgotten everything.

  the proxy            {proxy}       (configs/demo.yaml)
  identity provider    {idp}     people: ann (engineering), bob (sales); any password
  MCP server behind    {mcp}/mcp
  health and metrics   {metrics}/health  {metrics}/metrics

Open in a browser
  {proxy}/app            sign in as ann or bob, and see what a server behind the proxy is told
  {proxy}/engineering    ann may enter, bob may not

Connect an MCP client. Each signs in by itself, in your browser; no id, no secret, no token to paste.

  Claude Code
    claude mcp add --transport http demo {proxy}/mcp
    then inside Claude Code: /mcp, choose demo, Authenticate

  VS Code, in .vscode/mcp.json
    {{ "servers": {{ "demo": {{ "type": "http", "url": "{proxy}/mcp" }} }} }}

  MCP Inspector
    npx @modelcontextprotocol/inspector
    transport Streamable HTTP, URL {proxy}/mcp, then Connect

See the challenge that clients start from
  curl -i -X POST {proxy}/mcp -H 'Content-Type: application/json' -d '{{}}'
  curl {proxy}/.well-known/oauth-protected-resource/mcp
"#
    );
}
