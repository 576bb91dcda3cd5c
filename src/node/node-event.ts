/** What a node host tells about itself, as `node run --json` prints it. */
import type { InvokeReport } from "./serve.ts";

export type NodeEvent =
  | { readonly event: "connecting"; readonly url: string }
  | {
      readonly event: "pairing-required";
      readonly requestId: string;
      readonly deviceId: string;
      readonly fingerprint: string;
      readonly layer: "device" | "surface";
      /** The command to paste on the gateway's host. */
      readonly approve: string;
    }
  | {
      readonly event: "ready";
      readonly deviceId: string;
      readonly connId: string;
      readonly protocol: number;
      readonly gatewayVersion: string;
      readonly commands: readonly string[];
    }
  | ({ readonly event: "invoke" } & InvokeReport)
  | {
      readonly event: "disconnected";
      readonly code: number | string;
      readonly reason: string;
      readonly retryInMs: number;
    }
  | { readonly event: "stopped"; readonly reason: string };
