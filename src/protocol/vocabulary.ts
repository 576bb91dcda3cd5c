/** The closed word lists of the wire: roles, scopes, client ids and modes, and what each scope implies. */

export const protocolRange = { min: 3, max: 4 } as const;

export const roles = ["operator", "node"] as const;
export type Role = (typeof roles)[number];

export const clientIds = [
  "webchat-ui",
  "openclaw-control-ui",
  "webchat",
  "cli",
  "gateway-client",
  "openclaw-macos",
  "openclaw-ios",
  "openclaw-android",
  "node-host",
  "test",
  "fingerprint",
  "openclaw-probe",
  "openclaw-tui",
  "openclaw-browser-copilot",
  "openclaw-linux",
  "openclaw-watchos",
  "openclaw-worker",
] as const;

/** Who clients of the JSON-RPC dialect are in lists, log lines and `gateway.trustedLocalServices`; none of ours may call itself that. */
export const jsonRpcClientId = "json-rpc";

export const clientModes = ["webchat", "cli", "ui", "backend", "node", "probe", "test", "worker"] as const;
export type ClientMode = (typeof clientModes)[number];

export const operatorScopes = [
  "operator.admin",
  "operator.read",
  "operator.write",
  "operator.approvals",
  "operator.pairing",
  "operator.questions",
  "operator.sessions.read",
  "operator.sessions.write",
  "operator.talk",
  "operator.talk.secrets",
] as const;

/** What a scope holds besides itself. */
const implied: ReadonlyMap<string, readonly string[]> = new Map<string, readonly string[]>([
  ["operator.admin", operatorScopes],
  ["operator.write", ["operator.read", "operator.talk", "operator.sessions.read", "operator.sessions.write"]],
  ["operator.sessions.write", ["operator.sessions.read"]],
]);

/** True when `held` contains `wanted`, itself or by implication (admin holds all, write holds read). */
export function holdsScope(held: readonly string[], wanted: string): boolean {
  return held.some((scope) => scope === wanted || (implied.get(scope)?.includes(wanted) ?? false));
}

/** True when every scope of `wanted` is held. */
export function holdsScopes(held: readonly string[], wanted: readonly string[]): boolean {
  return wanted.every((scope) => holdsScope(held, scope));
}

export function isRole(value: string): value is Role {
  return (roles as readonly string[]).includes(value);
}
