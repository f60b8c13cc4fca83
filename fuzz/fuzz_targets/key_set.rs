#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mcp_oidc_proxy::fuzz::key_set(bytes);
});
