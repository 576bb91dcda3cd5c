/** The options of a node host, written once for `node run` and for the service that runs one. */
import type { Command } from "commander";
import { formatPairingCode } from "../protocol/pairing-code.ts";
import type { NodeEvent } from "../node/index.ts";
import { collect } from "./globals.ts";
import type { NodeRunFlags } from "./node-setup.ts";
import type { SshFlags } from "./ssh-options.ts";
import { withTarget } from "./target-options.ts";

export interface NodeFlags extends Omit<NodeRunFlags, "wait">, SshFlags {
  readonly tunnel?: string;
  readonly environmentFile?: string;
}

/** Adds them, but for those of SSH, which come last. */
export function addNodeOptions(command: Command, approvalTimeout: string): Command {
  return (
    withTarget(command)
      // Node.js takes an --env-file for its own wherever it stands: it would load the file before anybody has looked at its mode.
      .option(
        "--environment-file <path>",
        "a 0600 file that says which of our secrets the environment has, one NAME=value a line",
      )
      .option("--pair <code>", "join with an invite or setup code, or its oc-pair:// link; better --pair-file")
      .option("--pair-file <path>", "a file with the invite, or - for stdin")
      .option(
        "--tunnel <destination>",
        "reach the gateway through [user@]host[:port]; --host and --port are meant there",
      )
      .option("--display-name <name>", "what the gateway's owner sees (default: the host's name)")
      .option("--node-id <id>", "the id of this node's instance (default: made once and kept)")
      .option("--approval-timeout <duration>", "how long to wait for approvals", approvalTimeout)
      .option("--allow <command>", "a program that system.run may start, by name or path; repeatable", collect)
      .option(
        "--exec-policy <policy>",
        "deny, allowlist or full (default: what exec-approvals.json says, else allowlist)",
      )
  );
}

export type NodeRequest = Omit<Extract<NodeEvent, { readonly event: "pairing-required" }>, "event">;

/** `here` is the command as it goes from this machine: what leads to the gateway from here may lead nowhere on the gateway's own host. */
export function describeRequest({ layer, fingerprint, sas, approve }: NodeRequest, here: string): string {
  return [
    layer === "device" ? "this device waits for approval" : "the command list of this node waits for approval",
    `  fingerprint  ${fingerprint}`,
    ...(sas === undefined ? [] : [`  code         ${formatPairingCode(sas)}`]),
    `  on the gateway's host: ${approve}`,
    ...(here === approve ? [] : [`  or from here: ${here}`]),
  ].join("\n");
}
