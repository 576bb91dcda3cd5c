/**
 * Validators of the schemas that the product publishes (npm @openclaw/gateway-protocol), made by ajv. They are kept as code in .cache:
 * to read all schemas and make code of some takes longer than the tests of most files.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import type * as AjvModule from "ajv";
import type AjvStandalone from "ajv/dist/standalone/index.js";

export type Validator = Pick<AjvModule.ValidateFunction, "errors"> & ((value: unknown) => boolean);

const load = createRequire(import.meta.url);
const packageUrl = new URL("../", import.meta.resolve("@openclaw/gateway-protocol"));
const versions = [new URL("package.json", packageUrl), load.resolve("ajv/package.json")].map(versionIn);
const directory = join(import.meta.dirname, "../../.cache/wire-validators", versions.join("-ajv-"));

const made = new Map<string, Validator>();
let names: ReadonlySet<string> | undefined;
let definitions: Readonly<Record<string, object>> | undefined;

export function isPublished(schema: string): boolean {
  names ??= new Set<string>(
    JSON.parse(
      readFileSync(
        kept("names.json", () => JSON.stringify(Object.keys(published()))),
        "utf8",
      ),
    ),
  );
  return names.has(schema);
}

/** Tells of everything that is wrong, not only of the first. Throws when there is no such schema. */
export function validatorOf(schema: string): Validator {
  const known = made.get(schema);
  if (known !== undefined) return known;
  const validator: Validator = load(kept(`${schema}.cjs`, () => codeOf(schema)));
  made.set(schema, validator);
  return validator;
}

function codeOf(schema: string): string {
  const definition = published()[schema];
  if (definition === undefined) throw new Error(`there is no published schema ${schema}`);
  const { Ajv }: typeof AjvModule = load("ajv");
  const { default: standaloneCode }: typeof AjvStandalone = load("ajv/dist/standalone/index.js");
  const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false, code: { source: true } });
  return standaloneCode(ajv, ajv.compile(definition));
}

function published(): Readonly<Record<string, object>> {
  const file = new URL("protocol.schema.json", packageUrl);
  definitions ??= (JSON.parse(readFileSync(file, "utf8")) as { definitions: Record<string, object> }).definitions;
  return definitions;
}

/** The path of a file of ours in the cache; made when it is not there, and whole whenever it is seen. */
function kept(name: string, make: () => string): string {
  const path = join(directory, name);
  if (existsSync(path)) return path;
  mkdirSync(directory, { recursive: true });
  const unfinished = `${path}.${process.pid}`;
  writeFileSync(unfinished, make());
  renameSync(unfinished, path);
  return path;
}

function versionIn(file: URL | string): string {
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}
