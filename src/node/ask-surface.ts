/** Asks a gateway how a node's command list stands. 2026.9.6 says so neither in hello-ok nor by an event: only in the refusal of a call. */
import type { GatewaySession } from "../client/gateway-session.ts";
import { isFailure } from "../errors.ts";

export type SurfaceAnswer =
  | { readonly kind: "approved" }
  | { readonly kind: "pending"; readonly requestId: string }
  /** Neither approved nor asked for: not yet, or not any more. */
  | { readonly kind: "none" }
  /** Not to be had: the gateway is about to stop, and answers nothing any more. */
  | { readonly kind: "later" }
  /** The gateway has no words for it, as those without a second approval. */
  | { readonly kind: "unknown" };

/** Publishes an empty inventory of runners, which a gateway takes from approved nodes only. Throws when the connection ends meanwhile. */
export async function askSurface(session: Pick<GatewaySession, "request">): Promise<SurfaceAnswer> {
  try {
    await session.request("node.runnerInventory.update", { protocolFeatures: [] });
    return { kind: "approved" };
  } catch (error) {
    if (!isFailure(error) || error.code === "unreachable") throw error;
    if (error.code === "starting") return { kind: "later" };
    const requestId = error.details?.["requestId"];
    if (typeof requestId === "string") return { kind: "pending", requestId };
    return { kind: error.details?.["wireCode"] === "UNAVAILABLE" ? "none" : "unknown" };
  }
}
