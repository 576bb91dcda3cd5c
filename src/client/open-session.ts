/**
 * A session with the right credential: the one given, else the device token that this gateway issued to this device for this role, else
 * what the configuration has. A token that turned out void is forgotten, and the next credential gets its turn.
 */
import { isFailure, OpenClawError } from "../errors.ts";
import { Secret } from "../secret.ts";
import { systemRuntime } from "../runtime.ts";
import { holdsScopes } from "../protocol/vocabulary.ts";
import { connectGateway, type ConnectOptions, type Credential } from "./connect-gateway.ts";
import type { GatewaySession } from "./gateway-session.ts";

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
}

/** Where device tokens are kept between runs; whoever embeds the client brings one. */
export interface TokenMemory {
  recall(key: TokenKey): Promise<RememberedToken | undefined>;
  remember(key: TokenKey, token: RememberedToken): Promise<void>;
  forget(key: TokenKey): Promise<void>;
}

export interface SessionOptions extends Omit<ConnectOptions, "credential"> {
  /** From a flag or the environment: what the caller said outright. */
  readonly explicit?: Credential | undefined;
  /** From the configuration file of this very gateway. */
  readonly configured?: Credential | undefined;
  readonly memory?: TokenMemory | undefined;
}

/** Opens a session, remembers the device token that it brings, and forgets one that is void. */
export async function openSession(options: SessionOptions): Promise<GatewaySession> {
  const key = tokenKey(options);
  const remembered = key === undefined ? undefined : await options.memory?.recall(key);
  const attempts = credentialsInOrder(options, remembered);
  let failure: unknown;
  for (const credential of attempts) {
    try {
      const session = await connectGateway({ ...options, credential });
      await rememberToken(options, key, session);
      return session;
    } catch (error) {
      if (credential?.kind !== "deviceToken") {
        failure = error;
        if (isFailure(error, "token-mismatch", "upgrade-refused")) continue;
        throw error;
      }
      failure = await explainTokenRefusal(options, credential, remembered, error);
      if (key !== undefined && isFailure(failure, "device-token-mismatch")) await options.memory?.forget(key);
      if (!isFailure(failure, "device-token-mismatch", "upgrade-refused", "scope-missing")) throw failure;
    }
  }
  throw failure;
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
  { explicit, configured, gateway }: SessionOptions,
  remembered: RememberedToken | undefined,
): readonly (Credential | undefined)[] {
  const device: Credential | undefined =
    remembered === undefined ? undefined : { kind: "deviceToken", secret: remembered.token };
  if (explicit !== undefined) {
    return device !== undefined && isTrustedEndpoint(gateway) ? [explicit, device] : [explicit];
  }
  const known = [device, configured].filter((credential) => credential !== undefined);
  return known.length === 0 ? [undefined] : known;
}

/** Loopback, or TLS with a pinned certificate: nobody else can be listening there. */
function isTrustedEndpoint({ url, tlsFingerprint }: ConnectOptions["gateway"]): boolean {
  const { hostname, protocol } = new URL(url);
  return (
    hostname === "localhost" ||
    hostname.startsWith("127.") ||
    hostname === "[::1]" ||
    (protocol === "wss:" && tlsFingerprint !== undefined)
  );
}

function tokenKey({ gateway, identity, role }: SessionOptions): TokenKey | undefined {
  return identity === undefined ? undefined : { gateway: originOf(gateway.url), deviceId: identity.deviceId, role };
}

/** `ws(s)://host:port` of a gateway's address: what its tokens are filed under. */
export function originOf(url: string): string {
  const { protocol, host } = new URL(url);
  return `${protocol}//${host}`;
}

async function rememberToken(
  options: SessionOptions,
  key: TokenKey | undefined,
  session: GatewaySession,
): Promise<void> {
  const { auth } = session.hello;
  if (key === undefined || auth?.deviceToken === undefined || options.memory === undefined) return;
  const known = await options.memory.recall(key);
  const before = known?.token.reveal() === auth.deviceToken ? known.scopes : undefined;
  if (before !== undefined && holdsScopes(before, auth.scopes)) return;
  await options.memory.remember(key, {
    token: new Secret(auth.deviceToken),
    // 2026.9.6 names the session's scopes: of the same token they add up.
    scopes: [...new Set([...(before ?? []), ...auth.scopes])],
    updatedAtMs: (options.runtime ?? systemRuntime).now(),
  });
}
