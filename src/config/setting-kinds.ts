/** The kinds of values that settings have: how each is checked, and how that is said. */
import { isIP } from "node:net";
import * as v from "valibot";
import { Secret } from "../secret.ts";
import { isAddressRange } from "./address.ts";
import { urlProblem } from "./gateway-url.ts";
import { headerProblem } from "./headers.ts";
import { readFingerprint } from "./tls-fingerprint.ts";

/** What is checked, and what people call it. Messages never repeat the value: it may be a secret. */
export interface Kind<Schema extends v.GenericSchema> {
  readonly schema: Schema;
  readonly type: string;
}

export interface SettingNotes<Value> {
  readonly fallback?: Value;
  /** Shown as a digest only. */
  readonly secret?: true;
  /** The environment variable that beats the files. */
  readonly env?: string;
}

const must = (type: string) => `must be ${type}`;
const checkedText = (type: string, isRight: (text: string) => boolean) =>
  v.pipe(v.string(must(type)), v.check(isRight, must(type)));
const listOf = <Item extends v.GenericSchema>(items: Item) => v.array(items, must("a list"));
const wholeNumber = (type: string, min: number, max: number) =>
  v.pipe(v.number(must(type)), v.integer(must(type)), v.minValue(min, must(type)), v.maxValue(max, must(type)));
const closed = <Entries extends v.ObjectEntries>(entries: Entries) =>
  v.strictObject(entries, (issue) => {
    if (issue.expected === "never") return "is not a known key";
    return issue.expected === "Object" ? must("an object") : "is missing";
  });

function kind<Schema extends v.GenericSchema>(type: string, schema: Schema): Kind<Schema> {
  return { type, schema };
}

export function oneOf<const Words extends readonly string[]>(...words: Words) {
  const type = `one of ${words.join(", ")}`;
  return kind(type, v.picklist(words, must(type)));
}

export const text = kind(
  "text",
  checkedText("text that is not empty", (value) => value !== ""),
);
export const texts = kind("list of texts", listOf(text.schema));
export const secretText = kind(
  "text",
  v.pipe(
    text.schema,
    v.transform((value) => new Secret(value)),
  ),
);
export const yesOrNo = kind("true or false", v.boolean(must("true or false")));
export const port = kind("port, 0-65535", wholeNumber("a whole number from 0 to 65535", 0, 65_535));
export const count = kind("whole number", wholeNumber("a whole number from 1", 1, 1_000_000_000));
export const milliseconds = kind("milliseconds", wholeNumber("a whole number of milliseconds", 1, 30 * 86_400_000));
export const address = kind(
  "IP address",
  checkedText("an IP address", (value) => isIP(value) !== 0),
);
const range = checkedText("an IP address or a range such as 10.0.0.0/8", isAddressRange);
export const ranges = kind("list of IP addresses and ranges", listOf(range));
const bindNames = ["loopback", "lan", "tailnet", "auto", "custom"];
const bindType = `${bindNames.join(", ")} or an IP address`;
export const bind = kind(
  bindType,
  checkedText(bindType, (value) => bindNames.includes(value) || isIP(value) !== 0),
);
export const url = kind(
  "ws:// or wss:// URL",
  checkedText("ws://host:port or wss://host:port, without secrets in it", (value) => urlProblem(value) === undefined),
);
export const fingerprint = kind(
  "certificate's SHA-256 in hex, or sha256/<base64> of its public key",
  checkedText("the 64 hex digits of a SHA-256, or sha256/<base64>", (value) => readFingerprint(value) !== undefined),
);
export const scopesOfUsers = kind(
  "object of scope lists by user",
  v.record(v.string(), listOf(text.schema), must("an object of scope lists")),
);
export const localServices = kind(
  "list of {id, scopes}",
  listOf(closed({ id: text.schema, scopes: listOf(text.schema) })),
);
const httpPath = checkedText("a path that begins with /", (value) => /^\/[^\s?#]*$/.test(value));
const httpUrl = checkedText("an http:// or https:// URL", (value) =>
  /^https?:$/.test(URL.parse(value)?.protocol ?? ""),
);
export const routes = kind(
  "list of {path, upstream, scope}",
  listOf(closed({ path: httpPath, upstream: httpUrl, scope: v.optional(text.schema) })),
);
export const headersByName = kind(
  "object of values by header name",
  v.pipe(
    v.record(v.string(), v.string(must("text")), must("an object of texts by header name")),
    v.check(
      (found) => Object.entries(found).every(([name, value]) => headerProblem(name, value) === undefined),
      "must be headers one may set, with values on one line",
    ),
    v.transform((found) => Object.entries(found).map(([name, value]) => [name, new Secret(value)] as const)),
  ),
);

/** A line of the table. */
export function setting<Schema extends v.GenericSchema, const Notes extends SettingNotes<v.InferInput<Schema>>>(
  { schema, type }: Kind<Schema>,
  about: string,
  notes: Notes,
): Kind<Schema> & { readonly about: string } & Notes {
  return { schema, type, about, ...notes };
}
