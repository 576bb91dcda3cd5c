/** `openclaw pair status` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import type { ShownDirection, ShownPeer } from "../../link-directory.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

export function statusCommand(context: Context): Command {
  return withTarget(
    defineCommand("status", "show every gateway that this one is linked with, in both directions", [
      "openclaw pair status",
      "openclaw pair status --json",
    ]),
  ).action(async (flags: TargetFlags) => {
    const { showPeers } = await import("../../link-directory.ts");
    const peers = await showPeers(context, flags);
    context.output.result({ peers }, (value) =>
      value.peers.length === 0
        ? "no gateway is linked with this one; openclaw pair link makes a link"
        : value.peers.map(describe).join("\n"),
    );
  });
}

function describe({ name, host, fingerprint, state, pid, toRemote, toLocal }: ShownPeer): string {
  return [
    `${name}  ${state}${pid === undefined ? "" : ` (pid ${pid})`}`,
    `  peer       ${host}  ${fingerprint}`,
    ...(toRemote === undefined ? [] : [`  to remote  ${direction(toRemote)}`]),
    ...(toLocal === undefined ? [] : [`  to local   ${direction(toLocal)}`]),
  ].join("\n");
}

function direction({ state, latencyMs }: ShownDirection): string {
  return latencyMs === undefined ? state : `${state}, answers in ${latencyMs} ms`;
}
