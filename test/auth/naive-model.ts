/** Who gets in by auth.md § 1, written down as plainly as it can be and with nothing of the gateway's own code: what the decision is held against. */

/** A connect in the words of the page. */
export interface Caller {
  readonly mode: "token" | "password" | "trusted-proxy" | "none" | "unset";
  readonly loopbackIsOn: boolean;
  readonly tailscaleMode: "disabled" | "enabled" | "require";
  readonly isProvenLocal: boolean;
  /** What is shown, and what each of it is worth by itself. */
  readonly shows: readonly Shown[];
  /** The Authorization header and the token in the frame differ, and the frame's is right for nothing. */
  readonly contradictsItself: boolean;
  readonly comesFromTailnet: boolean;
  readonly tailnetConfirmsUser: boolean;
  readonly proxyNamesAllowedUser: boolean;
  /** A client that is the gateway's own, on a direct loopback connection. */
  readonly isOwnClientOnLoopback: boolean;
}

export type Shown =
  | "the token"
  | "the password"
  | "its device token"
  | "a living invite"
  | "the internal secret"
  | "something wrong";

/** The method that lets the caller in, or `nobody`. */
export function whoLetsIn(caller: Caller): string {
  const { mode, shows } = caller;
  // "require: nothing else is accepted from the tailnet listener"
  if (caller.tailscaleMode === "require" && caller.comesFromTailnet && !caller.tailnetConfirmsUser) return "nobody";

  const methods: string[] = [];
  // 1. "no credential was presented, and the peer is proven local"
  if (shows.length === 0 && caller.isProvenLocal && caller.loopbackIsOn) methods.push("local");
  // 2. "a token issued to this device for this role"
  if (shows.includes("its device token")) methods.push("device-token");
  // 3. "equals gateway.auth.token"
  if (shows.includes("the token") && (mode === "token" || mode === "unset")) methods.push("token");
  // 4. "equals gateway.auth.password"
  if (shows.includes("the password") && (mode === "password" || mode === "unset")) methods.push("password");
  // 5. "no credential-less method (1, 5, 6) may still let the caller in" when something was shown
  if (shows.length === 0 && caller.tailscaleMode !== "disabled" && caller.tailnetConfirmsUser)
    methods.push("tailscale");
  // 6.
  if (shows.length === 0 && caller.proxyNamesAllowedUser && (mode === "trusted-proxy" || mode === "unset"))
    methods.push("trusted-proxy");
  // 7. "a single-use, short-lived code"
  if (shows.includes("a living invite")) methods.push("bootstrap-token");
  // 8. "presents the gateway's shared token or password, or the per-start internal secret … works in every auth mode"
  const ofItsOwn = new Set<Shown>(["the token", "the password", "the internal secret"]);
  if (caller.isOwnClientOnLoopback && shows.some((one) => ofItsOwn.has(one))) methods.push("internal");
  // "none": nobody is asked for anything, but "who shows a bad token must learn that it is bad"
  if (mode === "none" && shows.length === 0) methods.push("none");

  // "if header and frame both carry one and they differ, that is its own error"
  if (caller.contradictsItself) return "nobody";
  return methods[0] ?? "nobody";
}
