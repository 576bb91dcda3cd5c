/** `node run` as a service: it leaves word of how it is doing, for who asks later and cannot see its output. */
import { join } from "node:path";
import { type NodeEvent, stateAfter } from "../node/index.ts";
import { ServiceReport } from "../state/service-report.ts";
import type { Context } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { describeFailure } from "./failure.ts";

/** Exit codes after which a node would only end the same way again, until a person does something. */
export const finalExitCodes: readonly number[] = [
  exitCodes.usage,
  exitCodes.unauthorized,
  exitCodes["pairing-required"],
  exitCodes.forbidden,
  exitCodes.incompatible,
];

/** The file in which the service of this name reports. */
export function reportPath(context: Context, service: string): string {
  return join(context.paths().serviceDir, `${service}.json`);
}

/** The file that has the secrets of the service of this name. */
export function envFileOf(context: Context, service: string): string {
  return join(context.paths().serviceDir, `${service}.env`);
}

/** Runs `action`, whose events and end go into the report of this service. */
export async function reporting(
  context: Context,
  service: string,
  action: (report: (event: NodeEvent, gateway: string) => void) => Promise<void>,
): Promise<void> {
  const report = await ServiceReport.begin(reportPath(context, service), context.runtime);
  let isWaiting = false;
  try {
    await action((event, gateway) => {
      const state = stateAfter(event);
      // Who waits for a person asks again now and then: it is the same wait, and the same request.
      if (state === undefined || (isWaiting && state === "connecting")) return;
      isWaiting = state === "pairing-required";
      report.note({ state, gateway, ...(event.event === "pairing-required" ? { request: event } : {}) });
    });
    report.note({ state: "stopped" });
  } catch (error) {
    const { exitCode, error: failure, lines } = describeFailure(error);
    report.note({ state: "failed", failure: { exitCode, ...failure } });
    // launchd starts again whatever did not end with 0, and knows no codes that are final.
    if (process.platform !== "darwin" || !finalExitCodes.includes(exitCode)) throw error;
    context.output.failure({ exitCode, error: failure, lines });
  } finally {
    await report.written();
  }
}
