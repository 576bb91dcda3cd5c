/** What an HTTP answer means that came instead of an upgrade. */
import type { IncomingMessage } from "node:http";
import { OpenClawError } from "../errors.ts";
import { recogniseEdge } from "./edge.ts";
import { masked, refusedByEdge, type SentAlong } from "./edge-refusal.ts";
import { retryAfterMs } from "./retry-after.ts";

/** The failure. The body is read as far as it can explain anything; what it repeats of our secrets is left out. */
export async function upgradeRefusal(url: URL, response: IncomingMessage, sent: SentAlong): Promise<OpenClawError> {
  const { statusCode: status = 0, headers } = response;
  const body = masked(await readBody(response), sent);
  const { said, code, isGateways } = explanation(body);
  const edge = recogniseEdge({ status, headers, body, isGateways });
  const afterMs = retryAfterMs(headers["retry-after"], headers.date, Date.now());
  const details: Record<string, unknown> = {
    status,
    ...(said === undefined ? {} : { said }),
    ...(code === undefined ? {} : { code }),
    ...(afterMs === undefined ? {} : { retryAfterMs: afterMs }),
  };
  const suffix = said === undefined ? "" : `: ${said}`;
  if (edge !== undefined) return refusedByEdge(url, edge, details, sent);
  if (status === 401 || status === 403) {
    return new OpenClawError("upgrade-refused", `${url.host} refused the upgrade with HTTP ${status}${suffix}`, {
      hint: "the gateway, or a proxy in front of it, wants other credentials: check --token, or --header for an access proxy",
      details,
    });
  }
  if (status === 429) {
    return new OpenClawError("rate-limited", `${url.host} asks to wait before another try${suffix}`, { details });
  }
  if (status === 502 || status === 503 || status === 504) {
    return new OpenClawError("unreachable", `${url.host} is not ready to take connections (HTTP ${status})${suffix}`, {
      details,
    });
  }
  return new OpenClawError("not-a-gateway", `${url.host} answered HTTP ${status} instead of a WebSocket upgrade`, {
    hint: "check the port and the path: something else listens there, or a proxy that does not pass the Upgrade header on",
    details,
  });
}

const maxExplanationBytes = 8 * 1024;

async function readBody(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of response) {
      chunks.push(Buffer.from(chunk));
      size += Buffer.byteLength(chunk);
      if (size > maxExplanationBytes) break;
    }
  } catch {
    // The connection broke while it was explaining itself; what came so far has to do.
  }
  return Buffer.concat(chunks).toString("utf8", 0, maxExplanationBytes);
}

interface Explanation {
  readonly said?: string | undefined;
  readonly code?: string;
  /** Whether it is in the form that gateways use. */
  readonly isGateways: boolean;
}

/** The sentence in a refusal's body: JSON `error.message` with its `error.code`, or one line of plain text. HTML explains nothing. */
function explanation(body: string): Explanation {
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === "object" && parsed !== null && "error" in parsed) {
      const { error } = parsed;
      if (typeof error === "object" && error !== null && "message" in error) {
        const code = "code" in error && typeof error.code === "string" ? { code: error.code.slice(0, 100) } : {};
        return { said: String(error.message).slice(0, 300), ...code, isGateways: true };
      }
    }
  } catch {
    // Not JSON: perhaps a sentence.
  }
  const line = body.trim().split("\n")[0] ?? "";
  if (line === "" || line.startsWith("<") || line.startsWith("{")) return { isGateways: false };
  return { said: line.slice(0, 200), isGateways: false };
}
