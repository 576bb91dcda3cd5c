/** `openclaw node status` */
import type { Command } from "commander";
import { fingerprint } from "../../../identity/fingerprint.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { ago } from "../../human.ts";
import { inWords, secretStatus } from "../../secret-status.ts";
import { nodeLines, serviceLines } from "../../service-lines.ts";

export function statusCommand(context: Context): Command {
  return defineCommand("status", "this machine's node: its identity, what runs, and which gateways know it", [
    "openclaw node status",
  ]).action(async () => {
    const { liveRecords } = await import("../../../state/run-record.ts");
    const identity = await context.knownIdentity();
    const running = await liveRecords(context.paths().runDir, "node");
    const tokens = await (await context.tokens()).list();
    const secretStore = await secretStatus(context);
    const services = await servicesHere(context);
    const value = {
      deviceId: identity?.deviceId ?? null,
      fingerprint: identity === undefined ? null : fingerprint(identity.deviceId),
      ...(secretStore === undefined ? {} : { secretStore }),
      running: running.map(({ pid, gateway, state, startedAtMs }) => ({ pid, gateway, state, startedAtMs })),
      services,
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
        ...(shown.services.length === 0 ? ["service      none (openclaw node install)"] : []),
        ...shown.services.flatMap(({ node, ...service }) => [
          ...serviceLines(service),
          ...(node === null ? [] : nodeLines(context, node)),
        ]),
        ...shown.gateways.map((one) => `known to     ${one.gateway}, token ${one.digest}`),
      ].join("\n"),
    );
  });
}

/** The services of this state directory, and how the node in each is doing. None on systems where we keep none. */
async function servicesHere(context: Context) {
  const { ownServices, servedNode, serviceManager, viewService } = await import("../../service-host.ts");
  if (process.platform !== "linux" && process.platform !== "darwin") return [];
  const manager = serviceManager(context);
  const owners = await ownServices(context, manager);
  return Promise.all(
    owners.map(async (owner) => ({
      ...(await viewService(manager, owner)),
      node: (await servedNode(context, owner.name)) ?? null,
    })),
  );
}
