/** Asking a gateway about an invite without using it: a connection without a device, to which no gateway binds one. */
import { connectGateway } from "../client/connect-gateway.ts";
import { isFailure, OpenClawError } from "../errors.ts";
import { describePlatform } from "../node/platform.ts";
import type { InviteSummary } from "../protocol/methods.ts";
import { Secret } from "../secret.ts";
import { version } from "../version.ts";
import type { Context } from "./context.ts";
import type { TargetFlags } from "./target-options.ts";

/** What the invite with this secret is good for. `bootstrap-invalid` for a dead one, `incompatible` where it cannot be asked. */
export async function inspectInvite(
  context: Context,
  where: TargetFlags,
  bootstrapToken: string,
): Promise<InviteSummary> {
  const { address } = await context.target(where, { prefersRunning: false });
  try {
    await using session = await connectGateway({
      gateway: address,
      client: { id: "openclaw-probe", mode: "probe", version, ...describePlatform(process.platform) },
      role: "operator",
      scopes: [],
      credential: { kind: "bootstrapToken", secret: new Secret(bootstrapToken) },
      timeoutMs: context.timeoutMs,
      signal: context.oneShotSignal,
      runtime: context.runtime,
    });
    return await session.call("device.pair.setupInspect", { bootstrapToken });
  } catch (error) {
    if (!isFailure(error, ...cannotBeAsked)) throw error;
    throw new OpenClawError(
      "incompatible",
      `the gateway at ${address.url} cannot be asked about a code without using it up`,
      {
        hint: "gateways of openclaw-toolkit can; nothing was used",
        details: { ...error.details },
        cause: error,
      },
    );
  }
}

/** What other gateways say to a bootstrap token without a device: it counts for nothing there. */
const cannotBeAsked = [
  "device-identity-required",
  "credential-missing",
  "unauthorized",
  "usage",
  "pairing-required",
  "incompatible",
] as const;
