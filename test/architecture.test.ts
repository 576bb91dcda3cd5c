import { globSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, test } from "vitest";

/** Which rooms each room may look into, besides itself and the foundation. A row may be ahead of its room, never behind. */
const sees: Readonly<Record<string, readonly string[]>> = {
  protocol: [],
  identity: ["protocol"],
  pairing: ["protocol"],
  store: [],
  config: [],
  ssh: [],
  tunnel: ["ssh"],
  transport: ["protocol"],
  client: ["transport", "identity", "protocol"],
  node: ["client", "transport", "identity", "protocol"],
  gateway: ["transport", "store", "pairing", "identity", "protocol"],
  state: ["store", "config", "identity"],
  demo: ["tunnel", "ssh", "store"],
  service: ["store"],
  link: ["client", "tunnel", "ssh", "pairing", "identity", "protocol"],
  cli: [
    "link",
    "demo",
    "state",
    "service",
    "gateway",
    "node",
    "client",
    "transport",
    "tunnel",
    "ssh",
    "config",
    "store",
    "pairing",
    "identity",
    "protocol",
  ],
};

/** Files that every room may use, and that use no room; `index.ts` is the front door, which only looks in. */
const foundation = ["errors.ts", "runtime.ts", "secret.ts", "shell-word.ts", "version.ts"];
const frontDoor = "index.ts";

/** Where each of these may be imported, and nowhere else: the edges of the house. */
const edges: Readonly<Record<string, string>> = {
  ws: "transport",
  ssh2: "ssh",
  commander: "cli",
  "node:sqlite": "store",
  keytar: "state",
};

const pureRooms = ["protocol", "identity", "pairing"];
const worldly =
  /\bDate\.now\b|\bnew Date\(\)|\bMath\.random\b|\brandomBytes\b|\brandomUUID\b|\bset(?:Timeout|Interval|Immediate)\b|\bprocess\.|\bfetch\(/u;
const pureModules = new Set(["node:crypto", "node:buffer", "valibot"]);

interface Import {
  /** As it is written. */
  readonly name: string;
  /** The file it names, from the repository's root; undefined for a package. */
  readonly file: string | undefined;
  /** Gone at run time. */
  readonly isType: boolean;
}

const files = globSync("src/**/*.ts").toSorted();
const sources = new Map(files.map((file) => [file, readFileSync(file, "utf8")]));
const importsOf = new Map([...sources].map(([file, text]) => [file, readImports(file, text)]));

/** `src/gateway/x.ts` -> `gateway`; undefined for files that are in no room. */
function roomOf(file: string): string | undefined {
  const [room, ...rest] = relative("src", file).split("/");
  return rest.length === 0 ? undefined : room;
}

function readImports(file: string, text: string): Import[] {
  const statements = withoutComments(text).matchAll(
    /\b(?:import|export)\s+(type\s)?(?:[\w$*{][^;"]*?\sfrom\s+)?"([^"]+)"|\bimport\("([^"]+)"\)/gu,
  );
  return [...statements].map(([, type, from, dynamic]) => {
    const name = from ?? dynamic ?? "";
    return { name, file: name.startsWith(".") ? join(dirname(file), name) : undefined, isType: type !== undefined };
  });
}

/** The code alone: comments may speak of anything. Good enough for formatted sources, where `//` begins a line or follows code. */
function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//gu, "").replace(/(^|\s)\/\/ .*$/gmu, "$1");
}

/** Files of `src` whose code matches, outside comments and quoted strings. */
function filesMatching(pattern: RegExp): string[] {
  const code = (text: string) => withoutComments(text).replace(/"(?:[^"\\\n]|\\.)*"/gu, '""');
  return [...sources].flatMap(([file, text]) => (pattern.test(code(text)) ? [file] : []));
}

test("every room is on the picture, and nothing else stands beside the rooms", () => {
  const rooms = new Set(files.flatMap((file) => roomOf(file) ?? []));
  expect(Object.keys(sees)).toEqual(expect.arrayContaining([...rooms]));
  const roomless = files.filter((file) => roomOf(file) === undefined).map((file) => relative("src", file));
  expect([...foundation, frontDoor]).toEqual(expect.arrayContaining(roomless));
});

test("the picture has a direction: no room sees one that sees it", () => {
  for (const [room, below] of Object.entries(sees)) {
    for (const other of below) expect(sees[other], `${room} and ${other}`).not.toContain(room);
  }
});

test.each(Object.entries(sees))("%s looks only downwards", (room, below) => {
  const allowed = new Set<string | undefined>([room, ...below]);
  const wrong = files
    .filter((file) => roomOf(file) === room)
    .flatMap((file) => targetsOf(file).map((target) => ({ file, target })))
    .filter(({ target }) => !(isFoundation(target) || allowed.has(roomOf(target))));
  expect(wrong).toEqual([]);
});

test("the foundation stands on itself, and nobody enters by the front door from inside", () => {
  const above = files.filter(isFoundation).flatMap((file) => targetsOf(file).filter((target) => !isFoundation(target)));
  expect(above).toEqual([]);
  const door = join("src", frontDoor);
  expect(files.filter((file) => targetsOf(file).includes(door))).toEqual([]);
});

function targetsOf(file: string): string[] {
  return (importsOf.get(file) ?? []).flatMap((one) => one.file ?? []);
}

function isFoundation(file: string): boolean {
  return foundation.includes(relative("src", file));
}

test("every relative import names a file that exists", () => {
  const missing = files.flatMap((file) =>
    targetsOf(file)
      .filter((target) => !sources.has(target))
      .map((target) => `${file} -> ${target}`),
  );
  expect(missing).toEqual([]);
});

test.each(Object.entries(edges))("%s is imported in %s only", (name, room) => {
  const importers = files.filter((file) =>
    importsOf.get(file)?.some((one) => one.name === name || one.name.startsWith(`${name}/`)),
  );
  expect(importers.filter((file) => roomOf(file) !== room)).toEqual([]);
});

test("the environment is read by the shell only", () => {
  expect(filesMatching(/\bprocess\.env\b/u).filter((file) => roomOf(file) !== "cli")).toEqual([]);
});

describe.each(pureRooms)("%s is pure", (room) => {
  test.each(files.filter((file) => roomOf(file) === room))("%s", (file) => {
    expect(withoutComments(sources.get(file) ?? "")).not.toMatch(worldly);
    const packages = (importsOf.get(file) ?? []).filter((one) => one.file === undefined).map(({ name }) => name);
    expect(packages.filter((name) => !pureModules.has(name))).toEqual([]);
  });
});

test("nothing is any, and nothing is default", () => {
  expect(filesMatching(/(?::|\bas|<|\||,)\s*any\b/u)).toEqual([]);
  expect(filesMatching(/^export default\b/mu)).toEqual([]);
  expect(filesMatching(/^\s*(?:export\s+)?(?:const\s+)?(?:enum|namespace)\s+\w+\s*\{/mu)).toEqual([]);
});

test("no file imports itself by way of others", () => {
  expect(findCycle()).toBeUndefined();
});

/** The first circle of imports, as a path; imports of types alone are no dependency at run time. */
function findCycle(): string | undefined {
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): string | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file].join(" -> ");
    if (done.has(file)) return undefined;
    path.push(file);
    for (const { file: target, isType } of importsOf.get(file) ?? []) {
      const circle = target === undefined || isType ? undefined : visit(target);
      if (circle !== undefined) return circle;
    }
    path.pop();
    done.add(file);
    return undefined;
  };
  for (const file of files) {
    const circle = visit(file);
    if (circle !== undefined) return circle;
  }
  return undefined;
}
