/** What the gateway counts, in the text format that Prometheus reads (version 0.0.4). */
import { version } from "../../version.ts";
import type { NewcomerLimit } from "../arrival/newcomers.ts";
import type { ConnectionDecision } from "../options.ts";

/** What is true at this moment and needs no counting. */
export interface Gauges {
  readonly uptimeMs: number;
  readonly connections: number;
  readonly sessionsByRole: Readonly<Record<string, number>>;
  readonly devices: number;
  readonly pairingRequests: number;
}

export const metricsType = "text/plain; version=0.0.4; charset=utf-8";

/**
 * A number for every combination of values that its labels were seen with. The values come from closed lists and the configuration only, in
 * the order of the labels.
 */
class Counter {
  readonly #labels: readonly string[];
  readonly #counts = new Map<string, { readonly values: readonly string[]; count: number }>();

  constructor(...labels: readonly string[]) {
    this.#labels = labels;
  }

  add(...values: readonly string[]): void {
    const key = values.join("\n");
    const known = this.#counts.get(key);
    if (known === undefined) this.#counts.set(key, { values, count: 1 });
    else known.count++;
  }

  get samples(): readonly Sample[] {
    return [...this.#counts.values()].map(({ values, count }) => {
      const labels = this.#labels.map((name, index) => [name, values[index] ?? ""] as const);
      return [labelText(Object.fromEntries(labels)), count];
    });
  }
}

type Sample = readonly [labels: string, value: number];

export class Metrics {
  readonly #handshakes = new Counter("outcome", "code");
  readonly #invokes = new Counter("outcome");
  readonly #requests = new Counter("route", "status");
  readonly #cut = new Counter("limit");
  #rateLimited = 0;

  /** A connection came to its decision, before or behind the WebSocket upgrade. */
  decided({ outcome, code = "" }: ConnectionDecision): void {
    this.#handshakes.add(outcome, code);
    if (code === "AUTH_RATE_LIMITED" || code === "HTTP 429") this.#rateLimited++;
  }

  /** A connection was cut before it had shown who it is, since there were too many such. */
  wasCut(limit: NewcomerLimit): void {
    this.#cut.add(limit);
  }

  /** An invoke came to its end. */
  invoked(outcome: "ok" | "failed"): void {
    this.#invokes.add(outcome);
  }

  /** A plain HTTP request was answered, or its client was gone before. */
  answered(route: string, status: number | "aborted"): void {
    this.#requests.add(route, String(status));
    if (status === 429) this.#rateLimited++;
  }

  text({ uptimeMs, connections, sessionsByRole, devices, pairingRequests }: Gauges): string {
    const byRole = Object.entries(sessionsByRole).map(([role, count]) => [labelText({ role }), count] as const);
    return [
      family("build_info", "gauge", "The version that runs.", [[labelText({ version }), 1]]),
      family("uptime_seconds", "gauge", "Seconds since the gateway started.", [["", uptimeMs / 1000]]),
      family("connections", "gauge", "WebSocket connections, before and behind their handshake.", [["", connections]]),
      family("sessions", "gauge", "Connections that were let in, by role.", byRole),
      family("handshakes_total", "counter", "Decisions about connections.", this.#handshakes.samples),
      family("invokes_total", "counter", "Commands that were sent to nodes, by how they ended.", this.#invokes.samples),
      family("http_requests_total", "counter", "Plain HTTP requests, by path or route.", this.#requests.samples),
      family("rate_limited_total", "counter", "Attempts turned away for too many wrong ones.", [
        ["", this.#rateLimited],
      ]),
      family(
        "connections_cut_total",
        "counter",
        "Connections of unknown clients that were too many.",
        this.#cut.samples,
      ),
      family("devices", "gauge", "Approved devices.", [["", devices]]),
      family("pairing_requests", "gauge", "Devices that wait for approval.", [["", pairingRequests]]),
    ].join("");
  }
}

function family(name: string, type: "gauge" | "counter", help: string, samples: readonly Sample[]): string {
  const lines = samples.map(([labels, value]) => `openclaw_${name}${labels} ${value}\n`);
  return `# HELP openclaw_${name} ${help}\n# TYPE openclaw_${name} ${type}\n${lines.join("")}`;
}

/** `{name="value",…}`. */
function labelText(labels: Readonly<Record<string, string>>): string {
  const escaped = (value: string) => value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
  return `{${Object.entries(labels)
    .map(([name, value]) => `${name}="${escaped(value)}"`)
    .join(",")}}`;
}
