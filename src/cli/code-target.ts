/** From a setup code to the gateway that it leads to: which address, behind which tunnel, and how a later run finds it again. */
import { once } from "node:events";
import { connect } from "node:net";
import { isLoopbackHost } from "../config/address.ts";
import { formatGatewayUrl, gatewayUrlOf, parseGatewayUrl } from "../config/gateway-url.ts";
import { OpenClawError } from "../errors.ts";
import { isExpired, type SetupCode } from "../protocol/setup-code.ts";
import { Secret } from "../secret.ts";
import type { Context } from "./context.ts";
import { assertNotExpired, readPairOption } from "./setup-code-option.ts";
import type { TargetFlags } from "./target-options.ts";

export interface NodeGatewayFlags extends TargetFlags {
  readonly pair?: string;
  readonly pairFile?: string;
  readonly tunnel?: string;
}

/** Where a node host finds its gateway. */
export interface NodeGateway {
  /** As it is known on this machine, which is what its tokens are filed under. */
  readonly target: TargetFlags;
  /** As it is known at the far end of the tunnel, where there is one. */
  readonly there: TargetFlags;
  /** The secret of an invite. */
  readonly bootstrap?: Secret;
  /** Called when the invite has done its work. */
  readonly joined: () => void;
}

/** By the code if one is given, else by the options and the configuration, else the gateway that this machine joined. */
export async function findNodeGateway(context: Context, flags: NodeGatewayFlags): Promise<NodeGateway> {
  const { tunnel } = flags;
  const code = await readPairOption(context, flags);
  if (code !== undefined) {
    const places = await gatewayOfCode(context, flags, code, tunnel);
    // What a tunnel leads to is found through the tunnel only.
    const joined = () => void (tunnel === undefined && keepJoined(context, places.target));
    return { ...places, bootstrap: new Secret(code.bootstrapToken), joined };
  }
  const joined = () => {};
  if (tunnel === undefined) return { target: await targetOrJoined(context, flags), there: flags, joined };
  const { namedFromHere } = await import("./node-tunnel.ts");
  return { target: namedFromHere(flags, tunnel), there: flags, joined };
}

/**
 * The target options that a code stands for, with those of the command line in them. Everything about it that can be wrong is said before
 * its secret goes anywhere. Behind a tunnel to `destination` the code's address is meant as seen from there.
 */
export async function gatewayOfCode(
  context: Context,
  flags: TargetFlags,
  code: SetupCode,
  destination?: string,
): Promise<Pick<NodeGateway, "target" | "there">> {
  const coded = targetOfCode(flags, code);
  const named = destination === undefined ? coded : await namedThere(coded, destination);
  const nowMs = context.runtime.now();
  // A service that starts again with the code that it once joined with has a token by now, and needs the code's address only.
  if (isExpired(code, nowMs) && !(await hasJoined(context, named.url))) assertNotExpired(code, nowMs);
  if (destination !== undefined) return { target: named, there: coded };
  const target = targetOfCode(flags, await withReachableUrl(context, code, flags));
  assertSafeForCode(target);
  return { target, there: target };
}

/** Keeps the gateway that a code led to. That the node cannot find it again by itself is no reason to end it. */
export async function keepJoined(context: Context, { url, tlsFingerprint }: TargetFlags): Promise<void> {
  if (url === undefined) return;
  const { rememberGateway } = await import("../state/node-file.ts");
  try {
    await rememberGateway(context.paths().node, { url, tlsFingerprint }, context.runtime);
  } catch (error) {
    context.output.warn(
      `the gateway's address could not be kept: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** The code's address under the name that a gateway behind this tunnel has here. */
async function namedThere({ url = "", ...rest }: TargetFlags, destination: string): Promise<TargetFlags> {
  const { namedFromHere } = await import("./node-tunnel.ts");
  const { host, port, ...coded } = parseGatewayUrl(url, "the code's address");
  const named = namedFromHere({ host, port: String(port) }, destination);
  return { ...rest, insecureWs: true, url: formatGatewayUrl({ ...coded, host: named.host ?? host, port }) };
}

/** True when this machine has a node token of that gateway. Looking makes no identity. */
async function hasJoined(context: Context, url = ""): Promise<boolean> {
  const identity = await context.knownIdentity();
  if (identity === undefined) return false;
  const { originOf } = await import("../client/open-session.ts");
  const key = { gateway: originOf(url), deviceId: identity.deviceId, role: "node" };
  return (await (await context.tokens()).recall(key)) !== undefined;
}

/**
 * The target options with the code's gateway and pin in them. Options that name a part of the address win over the code, as in the
 * product: the code may have been made for another way to the same gateway. Credentials beside a code are `usage`.
 */
function targetOfCode(flags: TargetFlags, code: SetupCode): TargetFlags {
  const { token, tokenFile, password, passwordFile, header, headerFile, authHeader, insecureWs, tlsAcceptNew } = flags;
  if ([token, tokenFile, password, passwordFile].some((given) => given !== undefined)) {
    throw new OpenClawError("usage", "a code stands in for token and password, and one of these is given beside it", {
      hint: "give the code alone",
    });
  }
  const url = flags.url ?? urlWith(flags, code.url);
  const isPinnable = url.toLowerCase().startsWith("wss:");
  const tlsFingerprint = flags.tlsFingerprint ?? (isPinnable ? code.tlsFingerprint : undefined);
  return {
    url,
    ...(tlsFingerprint === undefined ? {} : { tlsFingerprint }),
    ...(header === undefined ? {} : { header }),
    ...(headerFile === undefined ? {} : { headerFile }),
    ...(authHeader === undefined ? {} : { authHeader }),
    ...(insecureWs === undefined ? {} : { insecureWs }),
    ...(tlsAcceptNew === undefined ? {} : { tlsAcceptNew }),
  };
}

/**
 * The code with the first of its addresses that takes connections, the first of all when none does. Gateways with several name the one that
 * most can reach first. Nothing is said there yet.
 */
async function withReachableUrl(context: Context, code: SetupCode, flags: TargetFlags): Promise<SetupCode> {
  const isSafe = (url: string) =>
    /^wss:/iu.test(url) || flags.insecureWs === true || isLoopbackHost(new URL(url).hostname);
  const candidates = code.urls.filter(isSafe);
  if (candidates.length < 2) return code;
  for (const url of candidates) {
    if (await takesConnections(url, context.options.signal)) return { ...code, url };
    context.output.detail(`nothing answers at ${url}, one of the code's addresses`);
  }
  return code;
}

async function takesConnections(text: string, signal: AbortSignal): Promise<boolean> {
  const { host, port } = parseGatewayUrl(text, "an address in the code");
  const socket = connect({ host, port });
  try {
    await once(socket, "connect", { signal: AbortSignal.any([signal, AbortSignal.timeout(probeMs)]) });
    return true;
  } catch {
    signal.throwIfAborted();
    return false;
  } finally {
    socket.destroy();
  }
}

/** Milliseconds for one address: those behind it get their turn before a person gives up. */
const probeMs = 2000;

/** The target options of a node host; where they name no gateway, and nothing else does, the one that this machine joined. */
async function targetOrJoined(context: Context, flags: TargetFlags): Promise<TargetFlags> {
  const { url, host, port, tls, contextPath } = flags;
  const { origins } = await context.config();
  const isNamed =
    [url, host, port, tls, contextPath].some((part) => part !== undefined) ||
    (context.options.env["OPENCLAW_GATEWAY_URL"] ?? "") !== "" ||
    origins["gateway.port"]?.from === "env";
  if (isNamed) return flags;
  const { joinedGateway } = await import("../state/node-file.ts");
  const joined = await joinedGateway(context.paths().node);
  if (joined === undefined) return flags;
  context.output.detail(`gateway: ${joined.url}, which this machine joined with an invite`);
  const tlsFingerprint = flags.tlsFingerprint ?? joined.tlsFingerprint;
  return { ...flags, url: joined.url, ...(tlsFingerprint === undefined ? {} : { tlsFingerprint }) };
}

/** `insecure-transport` when the code's secret, or the token that it is exchanged for, would cross a network unencrypted. */
function assertSafeForCode({ url = "", insecureWs }: TargetFlags): void {
  const { tls, host } = parseGatewayUrl(url, "the code's address");
  if (tls || insecureWs === true || isLoopbackHost(host)) return;
  throw new OpenClawError("insecure-transport", `the code's secret would cross the network unencrypted to ${url}`, {
    hint: "go through a tunnel (--tunnel), or have a code made for a wss:// address; --insecure-ws sends it all the same",
    details: { url },
  });
}

function urlWith({ host, port, tls, contextPath }: TargetFlags, codeUrl: string): string {
  const coded = parseGatewayUrl(codeUrl, "the code's address");
  if ([host, port, tls, contextPath].every((part) => part === undefined)) return formatGatewayUrl(coded);
  return formatGatewayUrl(
    gatewayUrlOf({
      host: host ?? coded.host,
      port: port ?? coded.port,
      tls: tls ?? coded.tls,
      contextPath: contextPath ?? coded.path,
    }),
  );
}
