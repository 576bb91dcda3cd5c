import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  allowedSurface,
  type CommandPolicy,
  coversSurface,
  type DeclaredSurface,
  effectiveCommands,
  isAllowedCommand,
} from "../../src/pairing/command-policy.ts";

const open: CommandPolicy = { allow: [], deny: [] };

const command: fc.Arbitrary<string> = fc.constantFrom(
  "system.run",
  "system.which",
  "system.notify",
  "canvas.hide",
  "camera.snap",
  "fs.listDir",
  "constructor",
);
const commands = fc.array(command, { maxLength: 6 });
const policy: fc.Arbitrary<CommandPolicy> = fc.record({ allow: commands, deny: commands });
const platform = fc.constantFrom(
  undefined,
  "",
  "linux",
  "macos",
  "ios",
  "plan9",
  "constructor",
  "__proto__",
  "toString",
);
const surface: fc.Arbitrary<DeclaredSurface> = fc.record(
  {
    caps: fc.array(fc.constantFrom("system", "browser", "file")),
    commands,
    permissions: fc.dictionary(fc.constantFrom("camera", "screen", "toString"), fc.boolean()),
  },
  { requiredKeys: ["caps", "commands"] },
);

describe("what a platform may offer", () => {
  test.each<[command: string, platform: string | undefined, policy: CommandPolicy, allowed: boolean]>([
    ["system.run", "linux", open, true],
    ["system.run", "  Linux ", open, true],
    ["system.run", "windows", open, true],
    ["system.run", "win32", open, true],
    ["system.run", "macos", open, true],
    ["system.run", "darwin", open, true],
    ["system.run", "ios", open, false],
    ["system.run", "android", open, false],
    ["system.run", "plan9", open, false],
    ["system.run", undefined, open, false],
    ["canvas.hide", "plan9", open, true],
    ["canvas.hide", "macos", open, true],
    ["canvas.hide", "linux", open, false],
    ["camera.snap", "ios", open, false],
    ["camera.snap", "ios", { allow: ["camera.snap"], deny: [] }, true],
    ["system.run", "linux", { allow: [], deny: ["system.run"] }, false],
    ["system.run", "linux", { allow: ["system.run"], deny: ["system.run"] }, false],
    ["system.run", "constructor", open, false],
    ["system.run", "__proto__", open, false],
  ])("%s on %s under %j: %s", (name, on, rules, allowed) => {
    expect(isAllowedCommand(name, on, rules)).toBe(allowed);
  });

  test("a denied command is never allowed, and an allowed one that is not denied always is", () => {
    fc.assert(
      fc.property(command, platform, policy, (name, on, rules) => {
        expect(isAllowedCommand(name, on, { ...rules, deny: [...rules.deny, name] })).toBe(false);
        const allowed = { allow: [...rules.allow, name], deny: rules.deny.filter((denied) => denied !== name) };
        expect(isAllowedCommand(name, on, allowed)).toBe(true);
      }),
    );
  });
});

describe("a declared surface, cut to the policy", () => {
  test("holds what was declared and is allowed: each once, in order, and nothing else", () => {
    fc.assert(
      fc.property(surface, platform, policy, (declared, on, rules) => {
        const cut = allowedSurface(declared, on, rules);
        const wanted = declared.commands.filter((name) => isAllowedCommand(name, on, rules));
        expect(cut.commands).toEqual([...new Set(wanted)].toSorted());
        expect(cut.caps).toEqual([...new Set(declared.caps)].toSorted());
        expect(cut.permissions).toEqual(declared.permissions);
        expect(allowedSurface(cut, on, rules)).toEqual(cut);
      }),
    );
  });
});

describe("an approved surface", () => {
  test("covers itself, and whatever asks for less", () => {
    fc.assert(
      fc.property(surface, commands, (approved, fewer) => {
        expect(coversSurface(approved, approved)).toBe(true);
        const narrower = { caps: [], commands: approved.commands.filter((name) => fewer.includes(name)) };
        expect(coversSurface(approved, narrower)).toBe(true);
      }),
    );
  });

  const approved: DeclaredSurface = {
    caps: ["system"],
    commands: ["system.run"],
    permissions: { camera: true, screen: false },
  };
  test.each<[what: string, wanted: DeclaredSurface, covers: boolean]>([
    ["nothing", { caps: [], commands: [] }, true],
    ["a command more", { caps: [], commands: ["system.run", "system.which"] }, false],
    ["a capability more", { caps: ["system", "file"], commands: [] }, false],
    ["a permission that was on", { caps: [], commands: [], permissions: { camera: true } }, true],
    ["a permission that was off", { caps: [], commands: [], permissions: { screen: true } }, false],
    ["a permission that was never named", { caps: [], commands: [], permissions: { contacts: true } }, false],
    ["a permission that is off", { caps: [], commands: [], permissions: { contacts: false } }, true],
    [
      "a permission with the name of what every object has",
      { caps: [], commands: [], permissions: { toString: true } },
      false,
    ],
  ])("and a wish for %s: covered %s", (_what, wanted, covers) => {
    expect(coversSurface(approved, wanted)).toBe(covers);
  });

  test("that does not exist covers nothing, and makes nothing effective", () => {
    expect(coversSurface(undefined, { caps: [], commands: [] })).toBe(false);
    expect(effectiveCommands(approved, undefined)).toEqual([]);
  });

  test("makes effective what is both declared and approved", () => {
    fc.assert(
      fc.property(surface, surface, (declared, agreed) => {
        const effective = effectiveCommands(declared, agreed);
        expect(declared.commands).toEqual(expect.arrayContaining([...effective]));
        expect(agreed.commands).toEqual(expect.arrayContaining([...effective]));
        const common = declared.commands.filter((name) => agreed.commands.includes(name));
        expect(new Set(effective)).toEqual(new Set(common));
      }),
    );
  });
});
