/** Which gateway a command line means, and the credentials that may be shown to it. */
import type { Credential, GatewayAddress } from "../client/connect-gateway.ts";
import { isLoopbackHost } from "../config/address.ts";
import { parseGatewayUrl, urlProblem } from "../config/gateway-url.ts";
import type { StatePaths } from "../config/paths.ts";
import type { Config } from "../config/resolve.ts";
import type { Input } from "../config/secret-file.ts";
import type { Target } from "../config/target.ts";
import type { RunningGateway } from "../config/target-choices.ts";
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
}

/** Decides. Nothing secret is in the answer that must not be sent. */
export async function findTarget({ flags, paths, ...sources }: TargetSources): Promise<CommandTarget> {
  const { assertSafeTransport, resolveTarget } = await import("../config/target.ts");
  const running = await runningGateways(paths);
  const target = await resolveTarget({
    ...sources,
    flags: { ...flags, noAuthHeader: flags.authHeader === false },
    running,
  });
  assertSafeTransport(target);
  // Only to a port that our own gateway is known to hold now: the configured one may be a tunnel to somebody else's.
  const isOurs = target.gateway === "local" && running.some(({ url }) => url.port === target.port);
  return {
    address: {
      url: target.url,
      headers: target.headers,
      tlsFingerprint: target.tlsFingerprint,
      sendAuthHeader: target.sendAuthHeader,
    },
    chosenBy: target.chosenBy,
    isLoopback: isLoopbackHost(new URL(target.url).hostname),
    explicit: usedCredential(target, true),
    configured: usedCredential(target, false),
    internal: isOurs ? await internalSecret(paths) : undefined,
  };
}

/** Where this machine's own gateways listen now, whatever the configuration says. */
async function runningGateways({ runDir }: StatePaths): Promise<readonly RunningGateway[]> {
  const { liveRecords } = await import("../state/run-record.ts");
  const records = await liveRecords(runDir, "gateway");
  return records
    .filter(({ gateway }) => urlProblem(gateway) === undefined)
    .map(({ pid, gateway }) => ({ pid, url: parseGatewayUrl(gateway, "the record of a running gateway") }));
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
