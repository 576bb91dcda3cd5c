/** Commands that need a session as operator, for as long as one call takes. What that is made of is loaded when it is needed. */
import type { GatewaySession } from "../client/gateway-session.ts";
import { isFailure, OpenClawError } from "../errors.ts";
import { holdsScope } from "../protocol/vocabulary.ts";
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

/**
 * Runs `action` with the right to decide about pairing, and once more with admin where the gateway asks for that: for nodes, and for
 * scopes that the caller has to hold itself. `action` must change nothing before it is refused.
 */
export async function asPairingOperator<Result>(
  context: Context,
  flags: TargetFlags,
  action: (session: GatewaySession) => Promise<Result>,
): Promise<Result> {
  let mayWiden = false;
  try {
    return await asOperator(context, flags, ["operator.pairing"], async (session) => {
      if (seesOnlyItself(session)) return await explainNotFound(action(session));
      mayWiden = !holdsScope(session.hello.auth?.scopes ?? [], "operator.admin");
      return await action(session);
    });
  } catch (error) {
    if (!mayWiden || !isFailure(error, "scope-missing", "forbidden")) throw error;
    return asOperator(context, flags, ["operator.pairing", "operator.admin"], action);
  }
}

/** True for who came with a device token and is no admin: gateways show it its own device, and nothing of others (protocol.md § 6.1). */
function seesOnlyItself({ hello: { auth } }: GatewaySession): boolean {
  return auth?.method === "device-token" && !holdsScope(auth.scopes, "operator.admin");
}

/** Says of a list what it leaves out. */
export function noteWhatIsHidden(context: Context, session: GatewaySession): void {
  if (!seesOnlyItself(session)) return;
  const fix = context.pasteable(widerRequest);
  context.output.note(`only this machine's own device is shown: its token does not hold operator.admin\nfix: ${fix}`);
}

const widerRequest = "openclaw pair request --role operator --scope operator.pairing --scope operator.admin";

async function explainNotFound<Result>(running: Promise<Result>): Promise<Result> {
  try {
    return await running;
  } catch (error) {
    if (!isFailure(error, "not-found")) throw error;
    throw new OpenClawError("scope-missing", `${error.message} among what this machine's token may see`, {
      hint: "only its own device, unless it holds operator.admin; ask for that with the gateway's own token, and have it approved there",
      fix: widerRequest,
      details: { ...error.details },
      cause: error,
    });
  }
}
