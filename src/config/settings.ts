/** Every key of the configuration: its type, what it is for, and its default. Help, man pages and `config list` are made from it. */
import type { InferOutput } from "valibot";
import { defaultPort } from "./gateway-url.ts";
import {
  address,
  bind,
  count,
  fingerprint,
  headersByName,
  localServices,
  milliseconds,
  oneOf,
  port,
  ranges,
  routes,
  scopesOfUsers,
  secretText,
  setting,
  text,
  texts,
  url,
  yesOrNo,
} from "./setting-kinds.ts";

const secret = { secret: true } as const;

/** The `gateway.*` keys have the product's names and meanings where the product has them, and are read from its file too. */
export const settings = {
  "gateway.mode": setting(
    oneOf("local", "remote"),
    "which gateway commands talk to: this machine's, or gateway.remote",
    {},
  ),
  "gateway.port": setting(port, "TCP port of this machine's gateway", {
    fallback: defaultPort,
    env: "OPENCLAW_GATEWAY_PORT",
  }),
  "gateway.bind": setting(bind, "where the gateway listens", { fallback: "loopback" }),
  "gateway.customBindHost": setting(address, "the address to listen on when gateway.bind is custom", {}),
  "gateway.auth.mode": setting(
    oneOf("token", "password", "trusted-proxy", "none"),
    "the proof a caller needs; unset: any that is configured",
    {},
  ),
  "gateway.auth.token": setting(secretText, "the gateway's shared token", { ...secret, env: "OPENCLAW_GATEWAY_TOKEN" }),
  "gateway.auth.password": setting(secretText, "the gateway's password", {
    ...secret,
    env: "OPENCLAW_GATEWAY_PASSWORD",
  }),
  "gateway.auth.loopback": setting(yesOrNo, "whether proven local callers come in without a credential", {
    fallback: true,
  }),
  "gateway.auth.upgrade": setting(
    oneOf("required", "deferred"),
    "whether the HTTP upgrade must carry the credential already",
    { fallback: "deferred" },
  ),
  "gateway.auth.rateLimit.maxAttempts": setting(count, "wrong credentials an address may send within the window", {
    fallback: 20,
  }),
  "gateway.auth.rateLimit.windowMs": setting(milliseconds, "length of that window in milliseconds", {
    fallback: 60_000,
  }),
  "gateway.auth.rateLimit.lockoutMs": setting(milliseconds, "how long such an address is locked out, in milliseconds", {
    fallback: 300_000,
  }),
  "gateway.auth.trustedProxy.userHeader": setting(text, "the header in which a trusted proxy names the user", {}),
  "gateway.auth.trustedProxy.requiredHeaders": setting(texts, "headers a request from a trusted proxy must have", {}),
  "gateway.auth.trustedProxy.allowUsers": setting(texts, "users that may come in by proxy; empty or unset: all", {}),
  "gateway.auth.trustedProxy.allowLoopback": setting(yesOrNo, "whether a trusted proxy may be on this machine", {}),
  "gateway.auth.trustedProxy.deviceAutoApprove.enabled": setting(
    yesOrNo,
    "whether operator devices that a proxy vouches for need no approval",
    { fallback: false },
  ),
  "gateway.auth.trustedProxy.deviceAutoApprove.scopes": setting(
    texts,
    "scopes that users get at the most who are not in gateway.auth.identityScopes",
    {},
  ),
  "gateway.auth.trustedProxy.enabled": setting(yesOrNo, "older spelling of gateway.auth.mode trusted-proxy", {}),
  "gateway.auth.trustedProxy.header": setting(text, "older spelling of gateway.auth.trustedProxy.userHeader", {}),
  "gateway.auth.identityScopes": setting(
    scopesOfUsers,
    "operator scopes by user, for users that a proxy vouches for",
    {},
  ),
  "gateway.trustedProxies": setting(ranges, "addresses of proxies whose headers are believed", {}),
  "gateway.trustedLocalServices": setting(localServices, "local programs without a device key, and their scopes", {}),
  "gateway.controlUi.allowInsecureAuth": setting(
    yesOrNo,
    "the product's: its dashboard without a device key; our gateway never allows that",
    {},
  ),
  "gateway.controlUi.allowedOrigins": setting(texts, "browser origins that may connect, besides the gateway's own", {}),
  "gateway.tailscale.mode": setting(
    oneOf("off", "serve", "funnel", "disabled", "enabled", "require"),
    "whether Tailscale Serve's word on the user is taken; require: nothing else from the tailnet",
    { fallback: "off" },
  ),
  "gateway.tailscale.whoisCommand": setting(
    texts,
    "program and arguments that say who has an address of the tailnet (default: tailscale whois --json)",
    {},
  ),
  "gateway.pairing.autoApproveOperators": setting(
    oneOf("proven-local", "loopback", "never"),
    "operators with the shared secret that need no approval",
    { fallback: "proven-local" },
  ),
  "gateway.nodes.commands.allow": setting(texts, "commands nodes may offer besides their platform's usual ones", {}),
  "gateway.nodes.commands.deny": setting(texts, "commands nodes may not offer", {}),
  "gateway.nodes.allowCommands": setting(texts, "older spelling of gateway.nodes.commands.allow", {}),
  "gateway.nodes.denyCommands": setting(texts, "older spelling of gateway.nodes.commands.deny", {}),
  "gateway.nodes.pairing.autoApproveCidrs": setting(
    ranges,
    "addresses from which first-time nodes need no approval",
    {},
  ),
  "gateway.remote.url": setting(url, "the gateway that commands talk to when gateway.mode is remote", {}),
  "gateway.remote.token": setting(secretText, "the token for gateway.remote.url", secret),
  "gateway.remote.password": setting(secretText, "the password for gateway.remote.url", secret),
  "gateway.remote.tlsFingerprint": setting(
    fingerprint,
    "the only certificate, or public key, accepted from gateway.remote.url",
    {},
  ),
  "gateway.tls.enabled": setting(yesOrNo, "whether the gateway speaks TLS", { fallback: false }),
  "gateway.tls.certPath": setting(text, "file with the gateway's certificate chain, PEM", {}),
  "gateway.tls.keyPath": setting(text, "file with the certificate's private key, PEM", {}),
  "gateway.http.routes": setting(routes, "local HTTP services that the gateway stands in front of", {}),
  "node.displayName": setting(text, "the name this machine's node goes by", {}),
  "node.execPolicy": setting(oneOf("deny", "allowlist", "full"), "which programs the node runs when it is asked to", {
    fallback: "allowlist",
  }),
  "node.allow": setting(texts, "commands that the node offers; unset: all it knows", {}),
  secretStore: setting(oneOf("auto", "keychain", "file"), "where a new device key and its tokens are kept", {
    fallback: "auto",
    env: "OPENCLAW_SECRET_STORE",
  }),
  headers: setting(
    headersByName,
    "HTTP headers sent to the configured gateway, such as those of an access proxy",
    secret,
  ),
} as const;

type Table = typeof settings;
export type SettingKey = keyof Table;
export type SettingValue<Key extends SettingKey> = InferOutput<Table[Key]["schema"]>;
/** What one source says: some keys. */
export type SettingValues = { readonly [Key in SettingKey]?: SettingValue<Key> };
type KeyWithFallback = {
  [Key in SettingKey]: Table[Key] extends { readonly fallback: unknown } ? Key : never;
}[SettingKey];
/** What all sources and the defaults say together. */
export type Settings = SettingValues & { readonly [Key in KeyWithFallback]: SettingValue<Key> };

export const settingKeys: readonly SettingKey[] = Object.keys(settings).filter(isSettingKey);

export function isSettingKey(key: string): key is SettingKey {
  return Object.hasOwn(settings, key);
}
