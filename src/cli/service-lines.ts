/** A service and its node as people read them. */
import type { Context } from "./context.ts";
import { span } from "./human.ts";
import { describeRequest } from "./node-options.ts";
import type { ServedNode, ServiceView } from "./service-host.ts";

export function serviceLines({ unit, path, envFile, enabled, state, pid, lastEnd, ...rest }: ServiceView): string[] {
  const known = enabled === null ? "its manager cannot be asked" : `${state}, ${enabled ? "enabled" : "not enabled"}`;
  const now = pid === undefined ? known : `${known}, pid ${pid}`;
  return [
    `service      ${unit} (${rest.manager}): ${now}${state === "running" || lastEnd === undefined ? "" : `, last ${lastEnd}`}`,
    `  unit       ${path}`,
    `  secrets    ${envFile}`,
  ];
}

/** How the node in it is doing, with what a person can do about it. */
export function nodeLines(context: Context, { state, gateway, sinceMs, request, failure }: ServedNode): string[] {
  const since = sinceMs === undefined ? "" : ` for ${span(context.runtime.now() - sinceMs)}`;
  return [
    `  node       ${state}${since}${gateway === undefined ? "" : `, ${gateway}`}`,
    ...(request === undefined ? [] : [describeRequest(request, context.pasteable(request.approve))]),
    ...(failure === undefined ? [] : [`  failed     ${failure.message}`]),
  ];
}
