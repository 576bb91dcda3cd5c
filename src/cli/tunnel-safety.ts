/** What is said about a tunnel's ports before it opens them, and which are refused. */
import { existsSync } from "node:fs";
import type { ForwardSpec } from "../ssh/destination.ts";
import {
  browserControlClashes,
  type BrowserControlClash,
  clashWarning,
  defaultGatewayPort,
  exposureWarning,
  refuseTakenHere,
} from "../tunnel/port-safety.ts";
import type { Context } from "./context.ts";

/**
 * Warns about forwards that others can reach, and about ports that a gateway's browser control wants. Throws `port-in-use` when such a
 * port already answers here. Returns the clashes, of which those on the server can be looked into once there is a connection.
 */
export async function reviewPorts(
  context: Context,
  forwards: readonly ForwardSpec[],
): Promise<readonly BrowserControlClash[]> {
  for (const forward of forwards) {
    const warning = exposureWarning(forward);
    if (warning !== undefined) context.output.warn(warning);
  }
  const clashes = browserControlClashes(forwards, await gatewayPorts(context, forwards));
  await refuseTakenHere(clashes, context.runtime);
  for (const clash of clashes) context.output.warn(clashWarning(clash));
  return clashes;
}

/** The clashes on the server alone, for a process whose starter has reviewed the ports. */
export function clashesThere(forwards: readonly ForwardSpec[]): readonly BrowserControlClash[] {
  return browserControlClashes(forwards, { here: [], there: [defaultGatewayPort] });
}

/** Gateway ports of this machine: the usual one, the configured one, and those of gateways that run. Of the server only the usual one is known. */
async function gatewayPorts(context: Context, forwards: readonly ForwardSpec[]) {
  const there = [defaultGatewayPort];
  if (!forwards.some(({ direction, port }) => direction === "local" && port !== 0)) return { here: there, there };
  const { liveRecords } = await import("../state/run-record.ts");
  const configured = await configuredPort(context);
  const running = await liveRecords(context.paths().runDir, "gateway");
  const ports = running.map(({ gateway }) => Number(URL.parse(gateway)?.port)).filter((port) => port > 0);
  return { here: [...new Set([defaultGatewayPort, configured, ...ports])], there };
}

/** Reading a configuration takes megabytes, which a tunnel's process keeps; where there is none it says nothing. */
async function configuredPort(context: Context): Promise<number> {
  const { config, product } = context.paths();
  if (![config, product.config].some((path) => existsSync(path))) return defaultGatewayPort;
  const { settings } = await context.config();
  return settings["gateway.port"] ?? defaultGatewayPort;
}
