/** One attempt at one gateway: dial, challenge, sign, connect, hello-ok. What to do when it fails is decided in `outcome.ts`. */
import { type FailureCode, isFailure, OpenClawError } from "../errors.ts";
import type { DeviceIdentity } from "../identity/device-identity.ts";
import { signPayload } from "../identity/signature.ts";
import { closeCodes } from "../protocol/close.ts";
import { encodeFrame, type EventFrame, type ResponseFrame } from "../protocol/frame.ts";
import { type Challenge, type HelloOk, readHelloOk } from "../protocol/handshake.ts";
import type { SasAnswer } from "../protocol/sas.ts";
import { signedToken } from "../protocol/signed-payload.ts";
import { protocolRange, type Role } from "../protocol/vocabulary.ts";
import { fromWireError } from "../protocol/wire-error.ts";
import { type Runtime, systemRuntime } from "../runtime.ts";
import type { Secret } from "../secret.ts";
import { dial, type DialAddress } from "../transport/dial.ts";
import type { FrameSocket } from "../transport/frame-socket.ts";
import { isLoopback } from "../transport/loopback.ts";
import type { SeenCertificate } from "../transport/tls.ts";
import { givenUp, type Step, timedOut } from "../transport/unreachable.ts";
import { connectId, HandshakeInbox } from "./handshake-inbox.ts";
import { type CallOptions, GatewaySession, type Liveness } from "./gateway-session.ts";
import { explainProxyRefusal } from "./proxy-refusal.ts";

export interface GatewayAddress {
  /** `ws(s)://host:port/path`. */
  readonly url: string;
  readonly headers?: readonly (readonly [name: string, value: Secret])[] | undefined;
  /** SHA-256 of the only certificate to accept, hex, or of its public key, `sha256/<base64>`. */
  readonly tlsFingerprint?: string | undefined;
  /** Asked about every certificate before anything is sent; resolves with the pin that holds, or undefined where authorities decide. */
  readonly acceptCertificate?: ((seen: SeenCertificate) => Promise<string | undefined>) | undefined;
  /** Whether secrets may go over plain `ws://` to a host that is not loopback. */
  readonly insecureWs?: boolean | undefined;
  /** False leaves `Authorization` off the upgrade, for edges that use the header themselves. */
  readonly sendAuthHeader?: boolean | undefined;
  /** Where the URL's host is really dialled: the near end of a tunnel to it. */
  readonly dialAt?: DialAddress | undefined;
}

/** The one credential of an attempt. */
export interface Credential {
  readonly kind: "token" | "password" | "deviceToken" | "bootstrapToken";
  readonly secret: Secret;
}

export interface ClientDescription {
  readonly id: string;
  readonly mode: string;
  readonly version: string;
  readonly platform: string;
  readonly deviceFamily?: string | undefined;
  readonly displayName?: string | undefined;
  readonly instanceId?: string | undefined;
}

export interface ConnectOptions {
  readonly gateway: GatewayAddress;
  readonly client: ClientDescription;
  readonly role: Role;
  readonly scopes: readonly string[];
  readonly caps?: readonly string[];
  readonly commands?: readonly string[];
  readonly pathEnv?: string | undefined;
  /** This side of a pairing code, for a gateway that has asked for it. */
  readonly sas?: SasAnswer | undefined;
  /** The key to sign with; without one the connection has no device. */
  readonly identity?: DeviceIdentity | undefined;
  readonly credential?: Credential | undefined;
  /** Milliseconds for the whole attempt, dial to hello-ok. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly runtime?: Runtime;
  /** When silence counts as the connection's end; 15 s and 10 s unless told otherwise. */
  readonly liveness?: Liveness | undefined;
  /** What holds for calls of the session that say nothing else. */
  readonly callDefaults?: CallOptions | undefined;
  /** Every event of the session, from the first one after hello-ok. */
  readonly onEvent?: ((event: EventFrame) => void) | undefined;
}

/** Connects once. Fails with what the refusal means (`errors.ts`); `details` hold what the gateway said. */
export async function connectGateway(options: ConnectOptions): Promise<GatewaySession> {
  const runtime = options.runtime ?? systemRuntime;
  const deadline = AbortSignal.timeout(options.timeoutMs);
  const signal = options.signal === undefined ? deadline : AbortSignal.any([options.signal, deadline]);
  const inbox = new HandshakeInbox();
  const socket = await dialGateway(options, inbox);
  const stop = () => socket.terminate();
  signal.addEventListener("abort", stop, { once: true });
  let step: Step = "challenge";
  try {
    const challenge = await inbox.challenge();
    socket.send(
      encodeFrame({
        type: "req",
        id: connectId,
        method: "connect",
        params: connectParams(options, challenge, runtime),
      }),
    );
    step = "hello";
    const hello = readHello(await inbox.response(), options);
    signal.removeEventListener("abort", stop);
    const { onEvent, liveness, callDefaults, gateway } = options;
    return new GatewaySession({ socket, hello, runtime, onEvent, liveness, callDefaults, url: gateway.url }, inbox);
  } catch (error) {
    signal.removeEventListener("abort", stop);
    socket.close(closeCodes.policy, "connect failed");
    const url = new URL(options.gateway.url);
    if (options.signal?.aborted === true) throw givenUp(url, step, options.signal.reason);
    if (deadline.aborted) throw timedOut(url, step, options.timeoutMs, error);
    throw error;
  }
}

async function dialGateway(
  { gateway, credential, timeoutMs, signal }: ConnectOptions,
  inbox: HandshakeInbox,
): Promise<FrameSocket> {
  assertPrivate(gateway, credential);
  const { url, headers = [], tlsFingerprint, acceptCertificate, sendAuthHeader, dialAt } = gateway;
  // A header holds visible ASCII (RFC 9110 § 5.5): a password with anything else goes in the frame alone.
  const fitsHeader = credential !== undefined && /^[\x21-\x7e]+$/u.test(credential.secret.reveal());
  const bearer = sendAuthHeader === false || !fitsHeader ? undefined : credential.secret;
  try {
    return await dial({ url, bearer, headers, tlsFingerprint, acceptCertificate, dialAt, timeoutMs, signal }, inbox);
  } catch (error) {
    throw asCredentialFailure(error, credential);
  }
}

/** `insecure-transport` when a secret would cross a network in the clear, whoever chose it: a stored device token is one too. */
function assertPrivate({ url, headers = [], dialAt, insecureWs }: GatewayAddress, credential?: Credential): void {
  const { protocol, hostname } = new URL(url);
  if (protocol === "wss:" || insecureWs === true || isLoopback(dialAt?.host ?? hostname)) return;
  const [header] = headers;
  if (credential === undefined && header === undefined) return;
  const what = credential === undefined ? `the header ${header?.[0]}` : `the ${credentialNames[credential.kind]}`;
  throw new OpenClawError("insecure-transport", `${what} would cross the network unencrypted to ${url}`, {
    hint: "use wss:// (--tls), or a tunnel (openclaw tunnel open); --insecure-ws sends it all the same",
    details: { url },
  });
}

const credentialNames = {
  token: "token",
  password: "password",
  deviceToken: "device token",
  bootstrapToken: "invite's secret",
} as const satisfies Record<Credential["kind"], string>;

/**
 * A gateway of ours judges the credential on the upgrade already. Its refusal means what the refused connect would have meant; one
 * without its codes is somebody else's, such as a proxy's, and says nothing about the gateway's tokens.
 */
function asCredentialFailure(error: unknown, credential: Credential | undefined): unknown {
  if (!isFailure(error, "upgrade-refused")) return error;
  const { message, hint, details } = error;
  switch (details?.["code"]) {
    case "authorization_missing":
      return new OpenClawError("credential-missing", message, { hint, details, cause: error });
    case "authorization_mismatch":
      return new OpenClawError(mismatches[credential?.kind ?? "token"], message, {
        hint: credential?.kind === "deviceToken" ? comeAgain : hint,
        details,
        cause: error,
      });
    default:
      return error;
  }
}

const comeAgain =
  "this device's token was rotated or revoked there: come once with the gateway's own token (--token-file), or have the device approved again";

const mismatches = {
  token: "token-mismatch",
  password: "password-mismatch",
  deviceToken: "device-token-mismatch",
  bootstrapToken: "bootstrap-invalid",
} as const satisfies Record<Credential["kind"], FailureCode>;

function connectParams(options: ConnectOptions, challenge: Challenge, runtime: Runtime): Record<string, unknown> {
  const { client, role, scopes, identity, credential } = options;
  const auth = credential === undefined ? undefined : { [credential.kind]: credential.secret.reveal() };
  const signedAt = challenge.ts ?? runtime.now(); // the gateway's own clock, so that ours may be wrong
  const signed = {
    clientId: client.id,
    clientMode: client.mode,
    role,
    scopes,
    signedAt,
    token: signedToken(auth ?? {}),
    nonce: challenge.nonce,
    platform: client.platform,
    deviceFamily: client.deviceFamily,
  };
  return withoutUndefined({
    minProtocol: protocolRange.min,
    maxProtocol: protocolRange.max,
    client: withoutUndefined({ ...client }),
    role,
    scopes,
    caps: options.caps ?? [],
    commands: options.commands,
    pathEnv: options.pathEnv,
    sas: options.sas,
    auth,
    device:
      identity === undefined
        ? undefined
        : {
            id: identity.deviceId,
            publicKey: identity.publicKey,
            signature: signPayload(identity, signed),
            signedAt,
            nonce: challenge.nonce,
          },
  });
}

/** Empty optional fields are invalid on the wire: they are left out. */
function withoutUndefined(value: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined && field !== ""));
}

function readHello(response: ResponseFrame, { gateway: { url }, credential }: ConnectOptions): HelloOk {
  if (!response.ok) {
    const refusal = fromWireError(
      response.error ?? { code: "UNAVAILABLE", message: "no reason given" },
      `the gateway at ${url} refused the connection`,
    );
    throw explainProxyRefusal(refusal, credential);
  }
  const read = readHelloOk(response.payload);
  if ("hello" in read) return read.hello;
  throw new OpenClawError("protocol", `the gateway at ${url} sent a hello-ok that cannot be read: ${read.problem}`);
}
