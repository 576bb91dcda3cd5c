/**
 * A session with the right credential: the one given, else the device token that this gateway issued to this device for this role, else
 * what the configuration has. A token that turned out void is forgotten, and the next credential gets its turn. A new token takes the place
 * of the one before only when a connection was made with it: until then both are kept.
 */
import { isFailure, OpenClawError } from "../errors.ts";
import type { EventFrame } from "../protocol/frame.ts";
import { Secret } from "../secret.ts";
import { systemRuntime } from "../runtime.ts";
import { holdsScopes } from "../protocol/vocabulary.ts";
import { isLoopback } from "../transport/loopback.ts";
import { CodeAgreement } from "./code-agreement.ts";
import { connectGateway, type ConnectOptions, type Credential } from "./connect-gateway.ts";
import type { GatewaySession } from "./gateway-session.ts";
import { isOfEdge } from "./outcome.ts";
import { handsOver, TokenFollower } from "./token-follower.ts";

/** Whose token it is. Tokens of one gateway are never shown to another. */
export interface TokenKey {
  /** The gateway's origin, `ws(s)://host:port`. */
  readonly gateway: string;
  readonly deviceId: string;
  readonly role: string;
}

export interface RememberedToken {
  readonly token: Secret;
  readonly scopes: readonly string[];
  readonly updatedAtMs: number;
  /** The token before this one, as long as no connection was made with this one. */
  readonly previous?: Secret | undefined;
}

/** Where device tokens are kept between runs; whoever embeds the client brings one. */
export interface TokenMemory {
  recall(key: TokenKey): Promise<RememberedToken | undefined>;
  remember(key: TokenKey, token: RememberedToken): Promise<void>;
  forget(key: TokenKey): Promise<void>;
}

export interface SessionOptions extends Omit<ConnectOptions, "credential" | "sas"> {
  /** From a flag or the environment: what the caller said outright. */
  readonly explicit?: Credential | undefined;
  /** From the configuration file of this very gateway. */
  readonly configured?: Credential | undefined;
  /** The secret of an invite, for a device that has no token of its own yet. It takes the place of what the configuration has. */
  readonly bootstrap?: Secret | undefined;
  readonly memory?: TokenMemory | undefined;
  /** Takes in what the gateway rotates while the session lasts. For sessions that last; short ones learn of it at the next hello. */
  readonly followRotations?: boolean;
  /** The code of the request that this device waits with, where the wait takes more than one session. */
  readonly codes?: CodeAgreement | undefined;
}

/** Opens a session, remembers the device token that it brings, and forgets one that is void. */
export async function openSession(options: SessionOptions): Promise<GatewaySession> {
  const key = tokenKey(options);
  const remembered = key === undefined ? undefined : await options.memory?.recall(key);
  const attempts = [...credentialsInOrder(options, remembered)];
  const voidTokens = new Set<string>();
  let failure: unknown;
  for (let at = 0; at < attempts.length; at++) {
    const credential = attempts[at];
    try {
      return await openWith(options, key, credential);
    } catch (error) {
      if (credential?.kind !== "deviceToken") {
        failure = error;
        if (isFailure(error, "token-mismatch", "upgrade-refused") && !isOfEdge(error)) continue;
        throw error;
      }
      failure = await explainTokenRefusal(options, credential, remembered, error);
      if (isFailure(failure, "device-token-mismatch")) {
        voidTokens.add(credential.secret.reveal());
        const isLast = !attempts.slice(at + 1).some((next) => next?.kind === "deviceToken");
        if (isLast) attempts.splice(at + 1, 0, ...(await newerOrForgotten(options, key, voidTokens)));
      }
      if (!isFailure(failure, "device-token-mismatch", "upgrade-refused", "scope-missing")) throw failure;
      if (isOfEdge(failure)) throw failure;
    }
  }
  throw failure;
}

async function openWith(
  options: SessionOptions,
  key: TokenKey | undefined,
  credential: Credential | undefined,
): Promise<GatewaySession> {
  const { memory, followRotations, onEvent } = options;
  const isFollowed = followRotations === true && key !== undefined && memory !== undefined;
  const follower = isFollowed ? new TokenFollower(options, memory, key) : undefined;
  const hear = (event: EventFrame) => {
    if (follower?.hear(event) !== true) onEvent?.(event);
  };
  const { codes = new CodeAgreement(options.runtime), identity } = options;
  const session = await codes.around(identity?.publicKey, (sas) =>
    connectGateway({ ...options, credential, onEvent: hear, sas }),
  );
  try {
    await rememberToken(options, key, session, credential);
  } catch (error) {
    await session.close();
    throw error;
  }
  follower?.begin(session);
  return session;
}

/** Every token that was known is void: what another connection has written down meanwhile, or none, and then there is nothing to keep. */
async function newerOrForgotten(
  { memory }: SessionOptions,
  key: TokenKey | undefined,
  voidTokens: ReadonlySet<string>,
): Promise<readonly Credential[]> {
  if (key === undefined || memory === undefined) return [];
  const newer = deviceCredentials(await memory.recall(key)).filter(({ secret }) => !voidTokens.has(secret.reveal()));
  if (newer.length === 0) await memory.forget(key);
  return newer;
}

/**
 * 2026.3.8 calls a token void that is only too narrow for what was asked. Whether it is shows when it is asked for no more than it is
 * known to hold: one attempt more, where something failed anyway, instead of a good token that is forgotten. Resolves with the failure
 * that stands.
 */
async function explainTokenRefusal(
  options: SessionOptions,
  credential: Credential,
  remembered: RememberedToken | undefined,
  error: unknown,
): Promise<unknown> {
  if (isFailure(error, "scope-missing")) return tooNarrow(options, error);
  if (!isFailure(error, "device-token-mismatch") || remembered === undefined) return error;
  if (holdsScopes(remembered.scopes, options.scopes)) return error;
  try {
    const session = await connectGateway({ ...options, scopes: remembered.scopes, credential });
    await session.close();
    return tooNarrow(options, error);
  } catch (again) {
    return again;
  }
}

function tooNarrow({ gateway, role, scopes }: SessionOptions, cause: OpenClawError): OpenClawError {
  const wanted = scopes.map((scope) => ` --scope ${scope}`).join("");
  return new OpenClawError(
    "scope-missing",
    `this device's token for ${originOf(gateway.url)} does not hold ${scopes.join(", ")}`,
    {
      hint: "ask for more with the gateway's own token or password (--token-file, --password-file), and have it approved there",
      fix: `openclaw pair request --role ${role}${wanted}`,
      details: { ...cause.details, scopes },
      cause,
    },
  );
}

/** What is tried, in this order. A remembered token stands behind an explicit one only where it cannot leak to somebody else. */
function credentialsInOrder(
  { explicit, configured, bootstrap, gateway }: SessionOptions,
  remembered: RememberedToken | undefined,
): readonly (Credential | undefined)[] {
  const device = deviceCredentials(remembered);
  if (bootstrap !== undefined) return [...device, { kind: "bootstrapToken", secret: bootstrap }];
  if (explicit !== undefined) return isTrustedEndpoint(gateway) ? [explicit, ...device] : [explicit];
  const known = [...device, configured].filter((credential) => credential !== undefined);
  return known.length === 0 ? [undefined] : known;
}

/** The token, and behind it the one before that may have to step in. */
function deviceCredentials(remembered: RememberedToken | undefined): readonly Credential[] {
  return [remembered?.token, remembered?.previous].flatMap((secret) =>
    secret === undefined ? [] : [{ kind: "deviceToken" as const, secret }],
  );
}

/** Loopback, or TLS with a pinned certificate: nobody else can be listening there. */
function isTrustedEndpoint({ url, tlsFingerprint }: ConnectOptions["gateway"]): boolean {
  const { hostname, protocol } = new URL(url);
  return isLoopback(hostname) || (protocol === "wss:" && tlsFingerprint !== undefined);
}

function tokenKey({ gateway, identity, role }: SessionOptions): TokenKey | undefined {
  return identity === undefined ? undefined : { gateway: originOf(gateway.url), deviceId: identity.deviceId, role };
}

/** `ws(s)://host:port` of a gateway's address: what its tokens are filed under. */
export function originOf(url: string): string {
  const { protocol, host } = new URL(url);
  return `${protocol}//${host}`;
}

/** Writes down what hello-ok brought. A token that let us in has proven itself: the one before it is dropped. */
async function rememberToken(
  options: SessionOptions,
  key: TokenKey | undefined,
  session: GatewaySession,
  credential: Credential | undefined,
): Promise<void> {
  const { auth } = session.hello;
  const { memory, runtime = systemRuntime } = options;
  if (key === undefined || auth?.deviceToken === undefined || memory === undefined) return;
  const known = await memory.recall(key);
  const shown = credential?.kind === "deviceToken" ? credential.secret : undefined;
  const isKnown = known?.token.reveal() === auth.deviceToken;
  const before = isKnown ? known.scopes : undefined;
  const previous = isKnown ? known.previous : (shown ?? (handsOver(session) ? known?.token : undefined));
  const isProven = shown?.reveal() === auth.deviceToken;
  const isNews = before === undefined || !holdsScopes(before, auth.scopes) || (isProven && previous !== undefined);
  if (!isNews) return;
  await memory.remember(key, {
    token: new Secret(auth.deviceToken),
    // 2026.9.6 names the session's scopes: of the same token they add up.
    scopes: [...new Set([...(before ?? []), ...auth.scopes])],
    updatedAtMs: runtime.now(),
    ...(isProven || previous === undefined ? {} : { previous }),
  });
}
