/** Commands that need a session as operator, for as long as one call takes. What that is made of is loaded when it is needed. */
import type { GatewaySession } from "../client/gateway-session.ts";
import type { Context } from "./context.ts";
import { refuseDeadPort } from "./dead-port.ts";
import type { TargetFlags } from "./target-options.ts";

/** Runs `action` with a session that holds `scopes`, and closes it. */
export async function asOperator<Result>(
  context: Context,
  flags: TargetFlags,
  scopes: readonly string[],
  action: (session: GatewaySession) => Promise<Result>,
): Promise<Result> {
  await refuseDeadPort(flags);
  const { openOperator } = await import("./operator-session.ts");
  await using session = await openOperator(context, flags, scopes);
  // Who did not answer in time, or after a Ctrl-C, is not waited for with a goodbye either.
  const drop = () => session.terminate();
  const signal = context.oneShotSignal;
  signal.addEventListener("abort", drop, { once: true });
  try {
    return await action(session);
  } finally {
    signal.removeEventListener("abort", drop);
  }
}
