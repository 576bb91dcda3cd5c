/** Nodes of a gateway by what a person calls them, and how they are shown. */
import type { GatewaySession } from "../client/gateway-session.ts";
import { OpenClawError } from "../errors.ts";
import { matchId } from "../identity/match-id.ts";
import type { NodeSummary } from "../protocol/methods.ts";

/** The node that was named, as an argument or as the product spells it, `--node`. */
export function oneNode(argument: string | undefined, option: string | undefined): string {
  const wanted = argument ?? option;
  if (wanted === undefined) {
    throw new OpenClawError("usage", "name the node", {
      hint: "its id, a prefix of it, or its name",
      fix: "openclaw nodes list",
    });
  }
  if (argument !== undefined && option !== undefined && argument !== option) {
    throw new OpenClawError("usage", `two nodes are named: ${argument} and ${option}`);
  }
  return wanted;
}

/** The node id behind what a person typed. A full id is taken as it is, without asking the gateway. */
export async function findNodeId(session: GatewaySession, wanted: string): Promise<string> {
  if (/^[0-9a-f]{64}$/u.test(wanted)) return wanted;
  const { nodes } = await session.call("node.list", {});
  const candidates = nodes.map((node) => ({
    id: node.nodeId,
    names: node.displayName === undefined ? [] : [node.displayName],
  }));
  return matchId(wanted, candidates, "node", "openclaw nodes list").id;
}

/** Every field of a node that the CLI promises, also where a gateway leaves one out. */
export function showNode(node: NodeSummary): NodeSummary & { readonly displayName: string } {
  return {
    ...node,
    displayName: node.displayName ?? node.clientId ?? "node",
    caps: node.caps ?? [],
    commands: node.commands ?? [],
  };
}
