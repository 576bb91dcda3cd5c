/**
 * The schemas that the product publishes (npm @openclaw/gateway-protocol), and a judge that holds every frame of a conversation against
 * them: the frame itself, and what the method or event in it says.
 */
import type { ErrorObject } from "ajv";
import { at } from "./raw-client.ts";
import { isPublished, validatorOf } from "./wire-validators.ts";

/** Names that do not follow from the method's or event's own. */
const exceptions: Readonly<Record<string, string>> = {
  "connect result": "HelloOk",
  "exec.approvals.node.get result": "ExecApprovalsNodeSnapshot",
  "exec.approvals.node.set result": "ExecApprovalsNodeSnapshot",
};

/** Lists of one shape. */
const lists: Readonly<Record<string, { readonly path: readonly string[]; readonly of: string }>> = {
  "system-presence result": { path: [], of: "PresenceEntry" },
  "presence event": { path: ["presence"], of: "PresenceEntry" },
};

const errorDetails: Readonly<Record<string, string>> = { MISSING_SCOPE: "MissingScopeErrorDetails" };

/** The schema of `<method> params`, `<method> result` or `<event> event`: `device.pair.list params` is DevicePairListParams. */
export function schemaNameOf(subject: string): string | undefined {
  const name =
    exceptions[subject] ?? subject.replaceAll(/(?:^|[ .-])(\w)/gu, (_all, letter: string) => letter.toUpperCase());
  return isPublished(name) ? name : undefined;
}

/** The first frame that shows a finding, and the schema that it was held against. */
export interface Finding {
  readonly schema: string;
  readonly frame: unknown;
}

/** One conversation's frames, in their order. */
export class WireJudge {
  /** Everything that a schema does not have or wants otherwise: `device.pair.list result /paired/* field is not in the schema`. */
  readonly findings = new Map<string, Finding>();
  /** `<method> params`, `<method> result`, `<event> event`: what came by, whether there is a schema for it or not. */
  readonly heard = new Set<string>();
  readonly #methods = new Map<string, string>();

  /** `connection` tells one connection's ids from another's. */
  hear(connection: string, frame: unknown): void {
    switch (at(frame, "type")) {
      case "req": {
        const method = String(at(frame, "method"));
        this.#methods.set(`${connection} ${String(at(frame, "id"))}`, method);
        this.#judge("request frame", "RequestFrame", frame, frame);
        this.#judgeContent(`${method} params`, at(frame, "params") ?? {}, frame);
        return;
      }
      case "res": {
        this.#judge("response frame", "ResponseFrame", frame, frame);
        const method = this.#methods.get(`${connection} ${String(at(frame, "id"))}`);
        if (at(frame, "ok") === true) this.#judgeContent(`${method} result`, at(frame, "payload"), frame);
        else this.#judgeError(at(frame, "error", "details"), frame);
        return;
      }
      case "event":
        this.#judge("event frame", "EventFrame", frame, frame);
        this.#judgeContent(`${String(at(frame, "event"))} event`, at(frame, "payload"), frame);
        return;
      default:
        this.#find(`a message of type ${String(at(frame, "type"))}`, { schema: "GatewayFrame", frame });
    }
  }

  #judgeError(details: unknown, frame: unknown): void {
    const code = String(at(details, "code"));
    const name = errorDetails[code];
    if (name !== undefined) this.#judge(`${code} details`, name, details, frame);
  }

  #judgeContent(subject: string, content: unknown, frame: unknown): void {
    this.heard.add(subject);
    const list = lists[subject];
    const name = schemaNameOf(subject);
    if (list !== undefined) {
      const items = at(content, ...list.path);
      for (const item of Array.isArray(items) ? items : [items]) this.#judge(`${subject} /*`, list.of, item, frame);
    } else if (name !== undefined) this.#judge(subject, name, content, frame);
  }

  #judge(subject: string, schema: string, value: unknown, frame: unknown): void {
    const validate = validatorOf(schema);
    if (validate(value)) return;
    for (const error of validate.errors ?? []) this.#find(`${subject} ${inWords(error)}`, { schema, frame });
  }

  #find(what: string, finding: Finding): void {
    if (!this.findings.has(what)) this.findings.set(what, finding);
  }
}

/** The place without the numbers and ids that differ from frame to frame, and what is wrong there. */
function inWords({ instancePath, keyword, params, message }: ErrorObject): string {
  const path = instancePath.replaceAll(/\/\d+(?=\/|$)/gu, "/*");
  const field = (name: unknown) => `${path}/${String(name)}`;
  switch (keyword) {
    case "additionalProperties":
      return `${field(params["additionalProperty"])} is not in the schema`;
    case "required":
      return `${field(params["missingProperty"])} is missing`;
    default:
      return `${path === "" ? "/" : path} ${message}`;
  }
}
