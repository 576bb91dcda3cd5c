/** `openclaw status` */
import type { Command } from "commander";
import { fingerprint } from "../../identity/fingerprint.ts";
import type { Context } from "../context.ts";
import { defineCommand } from "../globals.ts";
import { ago } from "../human.ts";
import { inWords, secretStatus } from "../secret-status.ts";

export function statusCommand(context: Context): Command {
  return defineCommand("status", "this machine at a glance: identity, secrets, and what of ours runs here", [
    "openclaw status",
    "openclaw status --json",
  ]).action(async () => {
    const { liveRecords } = await import("../../state/run-record.ts");
    const { listLinks } = await import("../../state/link-record.ts");
    const { recordsOf } = await import("../tunnel-directory.ts");
    const { runDir, linkDir, stateDir } = context.paths();
    const identity = await context.knownIdentity();
    const secretStore = await secretStatus(context);
    const records = async (kind: string) =>
      (await liveRecords(runDir, kind)).map(({ pid, gateway, state, startedAtMs }) => ({
        pid,
        gateway,
        state,
        startedAtMs,
      }));
    const value = {
      stateDir,
      deviceId: identity?.deviceId ?? null,
      fingerprint: identity === undefined ? null : fingerprint(identity.deviceId),
      ...(secretStore === undefined ? {} : { secretStore }),
      gateways: await records("gateway"),
      nodes: await records("node"),
      tunnels: (await recordsOf(context)).map(({ name, pid, destination }) => ({ name, pid, destination })),
      links: (await listLinks(linkDir)).map(({ name, peer, state }) => ({ name, host: peer.host, state })),
    };
    const nowMs = context.runtime.now();
    context.output.result(value, (shown) =>
      [
        `state        ${shown.stateDir}`,
        `device       ${shown.fingerprint ?? "none yet (openclaw identity create)"}`,
        ...(secretStore === undefined ? [] : [`secrets      ${inWords(secretStore)}`]),
        ...lines(
          "gateway",
          shown.gateways,
          (one) => `${one.gateway}, pid ${one.pid}, since ${ago(one.startedAtMs, nowMs)}`,
        ),
        ...lines(
          "node",
          shown.nodes,
          (one) => `${one.state}, ${one.gateway}, pid ${one.pid}, since ${ago(one.startedAtMs, nowMs)}`,
        ),
        ...lines("tunnel", shown.tunnels, (one) => `${one.name} to ${one.destination}, pid ${one.pid}`),
        ...lines("link", shown.links, (one) => `${one.name} with ${one.host}, ${one.state}`),
      ].join("\n"),
    );
  });
}

function lines<One>(what: string, all: readonly One[], describe: (one: One) => string): readonly string[] {
  return all.length === 0 ? [`${what.padEnd(12)} none`] : all.map((one) => `${what.padEnd(12)} ${describe(one)}`);
}
