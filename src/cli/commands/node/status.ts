/** `openclaw node status` */
import type { Command } from "commander";
import { fingerprint } from "../../../identity/fingerprint.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { ago } from "../../human.ts";
import { inWords, secretStatus } from "../../secret-status.ts";

export function statusCommand(context: Context): Command {
  return defineCommand("status", "this machine's node: its identity, what runs, and which gateways know it", [
    "openclaw node status",
  ]).action(async () => {
    const { liveRecords } = await import("../../../state/run-record.ts");
    const identity = await context.knownIdentity();
    const running = await liveRecords(context.paths().runDir, "node");
    const tokens = await (await context.tokens()).list();
    const secretStore = await secretStatus(context);
    const value = {
      deviceId: identity?.deviceId ?? null,
      fingerprint: identity === undefined ? null : fingerprint(identity.deviceId),
      ...(secretStore === undefined ? {} : { secretStore }),
      running: running.map(({ pid, gateway, state, startedAtMs }) => ({ pid, gateway, state, startedAtMs })),
      gateways: tokens
        .filter(({ role }) => role === "node")
        .map(({ gateway, digest, updatedAtMs }) => ({ gateway, digest, updatedAtMs })),
    };
    context.output.result(value, (shown) =>
      [
        `device       ${shown.deviceId ?? "none yet (openclaw identity create)"}`,
        ...(shown.fingerprint === null ? [] : [`fingerprint  ${shown.fingerprint}`]),
        ...(secretStore === undefined ? [] : [`secrets      ${inWords(secretStore)}`]),
        ...(shown.running.length === 0 ? ["running      no"] : []),
        ...shown.running.map(
          (one) =>
            `running      pid ${one.pid}, ${one.state}, ${one.gateway}, started ${ago(one.startedAtMs, context.runtime.now())}`,
        ),
        ...shown.gateways.map((one) => `known to     ${one.gateway}, token ${one.digest}`),
      ].join("\n"),
    );
  });
}
