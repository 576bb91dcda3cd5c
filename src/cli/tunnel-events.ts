/** A tunnel's events as people read them, while it runs and later from its log. */
import type { LogEntry } from "../state/tunnel-log.ts";
import type { TunnelEvent } from "../tunnel/tunnel.ts";

export function describeTunnelEvent(event: TunnelEvent): string {
  switch (event.event) {
    case "connecting":
      return `connecting to ${event.destination}`;
    case "forward":
      return describeForward(event);
    case "forward-changed":
      return `${describeForward(event)}: ${event.state}${event.problem === undefined ? "" : ` (${event.problem})`}`;
    case "ready":
      return `tunnel ${event.name} is up (pid ${event.pid})`;
    case "disconnected":
      return `disconnected: ${event.reason}${event.retryInMs === undefined ? "" : `; next try in ${event.retryInMs} ms`}`;
    case "reconnected":
      return `back after ${event.downMs} ms`;
    case "renewed":
      return `renewed: ${event.reason}${event.draining === 0 ? "" : `; ${event.draining} connections end on the old one`}`;
    case "stopped":
      return "stopped";
  }
}

/** One line: when, what, and the facts that fit into it. A log may be of another version, so nothing is taken for granted. */
export function describeLogEntry({ atMs, event, ...facts }: LogEntry): string {
  const when = atMs === 0 ? "-" : new Date(atMs).toISOString();
  const { message, text, level, ...rest } = facts;
  const said = [level, message ?? text].filter((word) => typeof word === "string");
  const plain = Object.entries(rest).filter(([, value]) => typeof value !== "object");
  const shown = plain.map(([name, value]) => `${name}=${spell(value)}`);
  return [when, event, ...said, ...shown].join(" ");
}

/** `remote 127.0.0.1:18790 -> 127.0.0.1:18789`. */
export function describeForward(
  forward: Readonly<Record<"direction" | "bind" | "target", string>> & { readonly port: number },
): string {
  const bind = forward.bind.includes(":") ? `[${forward.bind}]` : forward.bind;
  return `${forward.direction} ${bind}:${forward.port} -> ${forward.target}`;
}

function spell(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return /^[^\s"]+$/u.test(text) ? text : JSON.stringify(text);
}
