/** Which gateway a command line means, and the credentials that may be shown to it. */
import type { Credential, GatewayAddress } from "../client/connect-gateway.ts";
import { isLoopbackHost } from "../config/address.ts";
import { parseGatewayUrl, urlProblem } from "../config/gateway-url.ts";
import type { StatePaths } from "../config/paths.ts";
import type { Config } from "../config/resolve.ts";
import type { Input } from "../config/secret-file.ts";
import type { Target } from "../config/target.ts";
import type { RunningGateway } from "../config/target-choices.ts";
import type { Runtime } from "../runtime.ts";
import type { ContextOptions } from "./context.ts";
import type { TargetFlags } from "./target-options.ts";

/** The gateway of a command line, and the credentials that may be shown to it. */
export interface CommandTarget {
  readonly address: GatewayAddress;
  /** The flag, variable or setting that named it, or what runs here. */
  readonly chosenBy: string;
  readonly isLoopback: boolean;
  /** From a flag or the environment. */
  readonly explicit: Credential | undefined;
  /** From the configuration of this very gateway. */
  readonly configured: Credential | undefined;
  /** The secret of its present start, when it is this machine's own gateway: good in every mode, and for operators only. */
  readonly internal: Credential | undefined;
}

export interface TargetPreference {
  /**
   * Whether a gateway that runs here is meant when none is named; so it is for who decides about things on it. A node is of another
   * gateway as a rule, and takes the configured address at its word.
   */
  readonly prefersRunning?: boolean;
}

export interface TargetSources extends Required<TargetPreference> {
  readonly flags: TargetFlags;
  readonly env: ContextOptions["env"];
  readonly config: Config;
  readonly paths: StatePaths;
  readonly stdin: Input;
  readonly runtime: Runtime;
  /** Told of a certificate that is held to from now on, in words. */
  readonly onAccepted?: (text: string) => void;
}

/** Decides. Nothing secret is in the answer that must not be sent. */
export async function findTarget({
  flags,
  paths,
  runtime,
  onAccepted = () => {},
  ...sources
}: TargetSources): Promise<CommandTarget> {
  const { assertSafeTransport, resolveTarget } = await import("../config/target.ts");
  const records = await runningGateways(paths);
  const running = records.map(({ gateway }) => gateway);
  const target = await resolveTarget({
    ...sources,
    flags: { ...flags, noAuthHeader: flags.authHeader === false },
    running,
  });
  assertSafeTransport(target);
  // Only to a port that our own gateway is known to hold now: the configured one may be a tunnel to somebody else's.
  const ours =
    target.gateway === "local" ? records.find(({ gateway: { url } }) => url.port === target.port) : undefined;
  const ownPin = ours?.gateway.url.tls === true ? ours.tlsFingerprint : undefined;
  return {
    address: {
      url: target.url,
      headers: target.headers,
      sendAuthHeader: target.sendAuthHeader,
      insecureWs: target.insecureWs,
      ...(target.tls ? await certificateOf({ target, ownPin, path: paths.tlsPins, runtime, onAccepted }) : {}),
    },
    chosenBy: target.chosenBy,
    isLoopback: isLoopbackHost(new URL(target.url).hostname),
    explicit: usedCredential(target, true),
    configured: usedCredential(target, false),
    internal: ours !== undefined ? await internalSecret(paths) : undefined,
  };
}

interface RunningRecord {
  readonly gateway: RunningGateway;
  /** Its own certificate's. */
  readonly tlsFingerprint: string | undefined;
}

/** Where this machine's own gateways listen now, whatever the configuration says. */
async function runningGateways({ runDir }: StatePaths): Promise<readonly RunningRecord[]> {
  const { liveRecords } = await import("../state/run-record.ts");
  const records = await liveRecords(runDir, "gateway");
  return records
    .filter(({ gateway }) => urlProblem(gateway) === undefined)
    .map(({ pid, gateway, tlsFingerprint }) => ({
      gateway: { pid, url: parseGatewayUrl(gateway, "the record of a running gateway") },
      tlsFingerprint,
    }));
}

interface CertificateChoices {
  readonly target: Target;
  /** That of a gateway which this machine's state knows to run there. */
  readonly ownPin: string | undefined;
  readonly path: string;
  readonly runtime: Runtime;
  readonly onAccepted: (text: string) => void;
}

/** What holds for the gateway's certificate: what a person said, else what our own gateway shows, else what was accepted before. */
async function certificateOf({
  target: { tlsFingerprint, pinnedBy, tlsAcceptNew, origin },
  ownPin,
  path,
  runtime,
  onAccepted,
}: CertificateChoices): Promise<Pick<GatewayAddress, "tlsFingerprint" | "acceptCertificate">> {
  const isFixed = pinnedBy === "gateway.remote.tlsFingerprint" || (pinnedBy === undefined && ownPin !== undefined);
  if (isFixed) return { tlsFingerprint: tlsFingerprint ?? ownPin };
  if (tlsFingerprint !== undefined && !tlsAcceptNew) return { tlsFingerprint };
  const { acceptedTrust, acceptFirst, acceptInstead } = await import("../state/tls-pins.ts");
  const known = tlsFingerprint === undefined ? await acceptedTrust(path, origin) : undefined;
  if (known !== undefined) return known.fingerprint === undefined ? {} : { tlsFingerprint: known.fingerprint };
  if (!tlsAcceptNew) return {};
  const accept = tlsFingerprint === undefined ? acceptFirst : acceptInstead;
  return {
    tlsFingerprint,
    acceptCertificate: async (seen) => {
      const pin = await accept(path, origin, seen, runtime);
      if (pin === seen.fingerprint) onAccepted(`${origin} is held to its certificate from now on: SHA-256 ${pin}`);
      return pin;
    },
  };
}

function usedCredential({ credentials }: Target, isExplicit: boolean): Credential | undefined {
  const found = credentials.find(({ used, from }) => used && isExplicit === (from === "flag" || from === "env"));
  if (found === undefined) return undefined;
  return { kind: found.kind === "device-token" ? "deviceToken" : found.kind, secret: found.value };
}

async function internalSecret({ internalSecret: path }: StatePaths): Promise<Credential | undefined> {
  const { readGatewayToken } = await import("../state/gateway-secrets.ts");
  const secret = await readGatewayToken(path).catch(() => undefined);
  return secret === undefined ? undefined : { kind: "token", secret };
}
