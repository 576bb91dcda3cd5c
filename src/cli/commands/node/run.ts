/** `openclaw node run` */
import { type Command, Option } from "commander";
import { parseDuration } from "../../../config/duration.ts";
import type { NodeEvent } from "../../../node/index.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { list } from "../../human.ts";
import { addNodeOptions, describeRequest, type NodeFlags } from "../../node-options.ts";
import { addSshOptions } from "../../ssh-options.ts";
import type { TargetFlags } from "../../target-options.ts";

interface Flags extends NodeFlags {
  readonly wait: boolean;
  readonly service?: string;
}

export function runCommand(context: Context): Command {
  const command = defineCommand("run", "connect to a gateway as a node and serve what it asks, for as long as it may", [
    "openclaw node run --host 127.0.0.1 --port 18790 --display-name kitchen --token-file token",
    "OPENCLAW_GATEWAY_TOKEN=… openclaw node run --tunnel me@cloud.example --allow git",
    "openclaw node run --pair-file invite.txt",
  ]);
  addNodeOptions(command, "5m")
    .option("--wait", "wait for approvals (the default)", true)
    .option("--no-wait", "end with exit code 5 when an approval is needed")
    // For the services that `node install` writes: the name under which they say how they are doing.
    .addOption(new Option("--service <name>", "the service that this is").hideHelp());
  return addSshOptions(command).action(async (flags: Flags) => {
    const run = async (report: Report) => serve(await context.withEnvFile(flags.environmentFile), flags, report);
    if (flags.service === undefined) return run(() => {});
    const { reporting } = await import("../../service-node.ts");
    return reporting(context, flags.service, run);
  });
}

/** Told of each event, with the gateway's URL. */
type Report = (event: NodeEvent, gateway: string) => void;

async function serve(context: Context, flags: Flags, report: Report): Promise<void> {
  const { RunRecord } = await import("../../../state/run-record.ts");
  const { findNodeGateway } = await import("../../code-target.ts");
  const { prepareNode } = await import("../../node-setup.ts");
  const { lockNode } = await import("../../node-lock.ts");
  const { runNode, stateAfter } = await import("../../../node/index.ts");
  const { tunnel: destination } = flags;
  await using steps = new AsyncDisposableStack();
  const { target, there, bootstrap, joined } = await findNodeGateway(context, flags);
  const line = destination === undefined ? undefined : await openLine(context, destination, flags, there);
  if (line !== undefined) steps.use(line.hosted);
  const options = await prepareNode(context, flags, target, bootstrap);
  await using record = await RunRecord.write(
    context.paths().runDir,
    "node",
    {
      gateway: options.gateway.url,
      state: "connecting",
      dialPort: line?.dialAt.port,
      tlsFingerprint: options.gateway.tlsFingerprint,
    },
    context.runtime,
  );
  await using _lock = await lockNode(context, options.gateway.url);
  const stop = new AbortController();
  // A tunnel that cannot heal ends the node with its own failure.
  line?.hosted.closed.catch((error: unknown) => stop.abort(error));
  await context.untilStopped(async () => {
    await runNode({
      ...options,
      gateway: { ...options.gateway, dialAt: line?.dialAt },
      wait: flags.wait,
      approvalTimeoutMs: parseDuration(flags.approvalTimeout, "--approval-timeout"),
      signal: AbortSignal.any([context.options.signal, stop.signal]),
      onEvent: (event) => {
        record.note(stateAfter(event));
        report(event, options.gateway.url);
        if (event.event === "ready") joined();
        if (event.event === "pairing-required") {
          // The event names the command for the gateway's host, where this machine's port and state mean nothing.
          context.output.event(event, () => describeRequest(event, context.pasteable(event.approve)));
        } else context.output.event(event, describeEvent);
      },
    });
    stop.signal.throwIfAborted();
  });
}

/** `there` is the gateway as it is known at the tunnel's far end. */
async function openLine(context: Context, destination: string, flags: Flags, there: TargetFlags) {
  const { openNodeTunnel } = await import("../../node-tunnel.ts");
  return openNodeTunnel(context, destination, { ...flags, ...there });
}

function describeEvent(event: Exclude<NodeEvent, { readonly event: "pairing-required" }>): string | undefined {
  switch (event.event) {
    case "connecting":
      return `connecting to ${event.url}`;
    case "approved": {
      const what = event.layer === "device" ? "this device" : "the command list";
      return `${what} was approved${event.by === undefined ? "" : ` by ${event.by}`}`;
    }
    case "ready":
      return `ready on gateway ${event.gatewayVersion} (protocol ${event.protocol}): ${list(event.commands)}`;
    case "invoke":
      return `${event.ok ? "served" : "refused"} ${event.command} in ${event.durationMs} ms`;
    case "disconnected":
      return `disconnected: ${event.reason || `close code ${event.code}`}; next try in ${event.retryInMs} ms`;
    case "stopped":
      return `stopped: ${event.reason}`;
  }
}
