/** A tunnel's report as tables. */
import { formatDuration } from "../config/duration.ts";
import type { ConnectionRow, HistoryRow, SshReport, TunnelReport } from "../tunnel/report.ts";
import type { Context } from "./context.ts";
import { ago, bytes } from "./human.ts";
import { describeForward } from "./tunnel-events.ts";

/** More rows than this are more than anybody reads; --json has all. */
const shownConnections = 20;
const shownHistory = 10;

/** Sections with an empty line between them; what there is nothing of is left out. */
export function describeReport(context: Context, report: TunnelReport): string {
  const nowMs = context.runtime.now();
  const sections = [
    facts(report, nowMs),
    forwards(context, report),
    connections(context, report, nowMs),
    history(context, report, nowMs),
    errors(report, nowMs),
  ];
  return sections.filter((section) => section !== "").join("\n\n");
}

function facts(
  { name, state, destination, pid, uptimeMs, reconnects, ssh, roundTrip, draining }: TunnelReport,
  nowMs: number,
) {
  const lines: [title: string, text: string | undefined][] = [
    ["tunnel", `${name} (${state})`],
    ["destination", destination],
    ["process", `pid ${pid}, for ${formatDuration(uptimeMs)}`],
    ["lost", `${reconnects} ${reconnects === 1 ? "connection" : "connections"}`],
    ["draining", draining > 0 ? `${draining} streams on connections that were replaced` : undefined],
    ...(ssh === undefined ? [] : sshFacts(ssh, nowMs)),
    [
      "round trip",
      roundTrip === undefined
        ? undefined
        : `${ms(roundTrip.lastMs)}; p50 ${ms(roundTrip.p50Ms)}, p95 ${ms(roundTrip.p95Ms)} of ${roundTrip.samples}`,
    ],
  ];
  return lines.flatMap(([title, text]) => (text === undefined ? [] : `${title.padEnd(13)}${text}`)).join("\n");
}

function sshFacts(ssh: SshReport, nowMs: number): [title: string, text: string | undefined][] {
  const both = (pair: { readonly out: string; readonly in: string } | undefined) =>
    pair === undefined || (pair.out === "" && pair.in === "")
      ? undefined
      : pair.out === pair.in
        ? pair.out
        : `${pair.out} out, ${pair.in} in`;
  return [
    ["connected", ago(ssh.connectedAtMs, nowMs)],
    ["host key", [ssh.hostKeyAlgorithm, ssh.hostKeyFingerprint].filter((part) => part !== undefined).join(" ")],
    ["key exchange", ssh.keyExchange],
    ["cipher", both(ssh.cipher)],
    ["mac", both(ssh.mac)],
    ["crypto by", ssh.nativeCrypto ? "ssh2's native addon" : "Node.js (ssh2's native addon is not built)"],
    ["hot spare", ssh.hotSpare ? "ready" : "none"],
  ];
}

function forwards({ output }: Context, report: TunnelReport): string {
  const columns = ["FORWARD", "STATE", "OPEN", "TOTAL", "REFUSED", "IN", "OUT"].map((title) => ({ title }));
  const rows = report.forwards.map((forward) => [
    describeForward(forward),
    forward.problem === undefined ? forward.state : `${forward.state}: ${forward.problem}`,
    String(forward.activeConnections),
    String(forward.totalConnections),
    String(forward.refusedConnections),
    bytes(forward.bytesIn),
    bytes(forward.bytesOut),
  ]);
  return output.table(columns, rows);
}

function connections({ output }: Context, { connections: all }: TunnelReport, nowMs: number): string {
  if (all.length === 0) return "";
  const columns = ["CONNECTION", "FROM", "TO", "OPEN FOR", "IN", "OUT"].map((title) => ({ title }));
  const row = ({ id, direction, port, from, target, openedAtMs, bytesIn, bytesOut }: ConnectionRow) => [
    `${id} ${direction} ${port}`,
    from,
    target,
    formatDuration(nowMs - openedAtMs),
    bytes(bytesIn),
    bytes(bytesOut),
  ];
  const more = all.length - shownConnections;
  return output.table(columns, all.slice(-shownConnections).map(row)) + (more > 0 ? `\nand ${more} older ones` : "");
}

function history({ output }: Context, { history: all }: TunnelReport, nowMs: number): string {
  if (all.length === 0) return "";
  const columns = ["HISTORY", "WHAT", "DOWN FOR", "WHY"].map((title) => ({ title }));
  const row = ({ atMs, what, reason = "", downMs }: HistoryRow) => [
    ago(atMs, nowMs),
    what,
    downMs === undefined ? "" : formatDuration(downMs),
    reason,
  ];
  return output.table(columns, all.slice(-shownHistory).map(row));
}

function errors({ errors: all }: TunnelReport, nowMs: number): string {
  return all
    .slice(-shownHistory)
    .map(({ atMs, message }) => `failed ${ago(atMs, nowMs)}: ${message}`)
    .join("\n");
}

function ms(durationMs: number): string {
  return `${durationMs < 10 ? durationMs.toFixed(1) : Math.round(durationMs)} ms`;
}
