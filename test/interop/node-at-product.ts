/** Our `node run` at the product's gateway: how it is approved, and how it is asked. */
import { type Runtime, systemRuntime } from "../../src/runtime.ts";
import { at } from "../support/raw-client.ts";
import type { CliEvent, CliHome, RunningCli } from "../support/run-cli.ts";
import type { Version } from "./install.ts";
import { type ProductGateway, productToken } from "./product.ts";

/** Back-offs of real length take most of a minute while a gateway restarts. */
const quick: Runtime = {
  ...systemRuntime,
  sleep: (ms, signal) => systemRuntime.sleep(Math.min(ms, 200), signal),
};

interface NodeStart {
  readonly env?: Readonly<Record<string, string>>;
  readonly flags?: string;
}

export const withToken = { OPENCLAW_GATEWAY_TOKEN: productToken } as const;

/** Starts our node, with the token in the environment unless told otherwise. */
export function startOurNode(home: CliHome, port: number, { env = withToken, flags = "" }: NodeStart = {}): RunningCli {
  return home.start(`node run --json --host 127.0.0.1 --port ${port} --display-name kitchen ${flags}`, {
    env,
    runtime: quick,
  });
}

/** Whether a node's command list needs an approval of its own. */
export function asksTwice(version: Version): boolean {
  return version !== "2026.3.8";
}

/** Somebody who may do everything at the gateway. */
export type Owner = Pick<ProductGateway, "home" | "call">;

/** Approves what the node asks for; resolves with what it says when it is ready. */
export async function approveNode(gateway: Owner, node: RunningCli): Promise<CliEvent> {
  const device = await node.event("pairing-required", 0, { layer: "device" });
  await gateway.call("device.pair.approve", { requestId: device["requestId"] });
  if (asksTwice(gateway.home.version)) {
    const surface = await node.event("pairing-required", 0, { layer: "surface" });
    await gateway.call("node.pair.approve", { requestId: surface["requestId"] });
  }
  return await node.event("ready");
}

/** Has the gateway ask the node, and gives what the node answered. */
export async function askNode(gateway: Owner, nodeId: unknown, command: string, params: unknown): Promise<unknown> {
  const answer = await gateway.call("node.invoke", { nodeId, command, params, idempotencyKey: systemRuntime.uuid() });
  return at(answer, "payload");
}
