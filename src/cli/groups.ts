/** The first words of the command line. Only the one that was typed is loaded. */
import type { Command } from "commander";
import type { Context } from "./context.ts";

export interface Group {
  readonly name: string;
  readonly summary: string;
  /** `wholeProgram` builds the tree with every command loaded, for the one command that writes about all of them. */
  readonly load: (wholeProgram: (context: Context) => Promise<Command>) => Promise<MakeCommand>;
}

/** The group's command; with `verb`, only the subcommand of that name stands in it. */
type MakeCommand = (context: Context, verb?: string) => Command;

export const groups: readonly Group[] = [
  {
    name: "gateway",
    summary: "run a gateway, and see how one is doing",
    load: async () => (await import("./commands/gateway/index.ts")).gatewayCommand,
  },
  {
    name: "node",
    summary: "let this machine serve a gateway as a node",
    load: async () => (await import("./commands/node/index.ts")).nodeCommand,
  },
  {
    name: "devices",
    summary: "approve, name, rotate, revoke and remove devices",
    load: async () => (await import("./commands/devices/index.ts")).devicesCommand,
  },
  {
    name: "nodes",
    summary: "see nodes, approve what they may do, and invoke them",
    load: async () => (await import("./commands/nodes/index.ts")).nodesCommand,
  },
  {
    name: "pair",
    summary: "ask for pairing, and decide about those who ask",
    load: async () => (await import("./commands/pair/index.ts")).pairCommand,
  },
  {
    name: "tunnel",
    summary: "keep SSH port forwards alive",
    load: async () => (await import("./commands/tunnel/index.ts")).tunnelCommand,
  },
  {
    name: "status",
    summary: "this machine at a glance: identity, secrets, and what of ours runs here",
    load: async () => (await import("./commands/status.ts")).statusCommand,
  },
  {
    name: "identity",
    summary: "the key that this machine is known by",
    load: async () => (await import("./commands/identity/index.ts")).identityCommand,
  },
  {
    name: "config",
    summary: "read and change the configuration",
    load: async () => (await import("./commands/config/index.ts")).configCommand,
  },
  {
    name: "security",
    summary: "find what is unsafe in the configuration and the state",
    load: async () => (await import("./commands/security/index.ts")).securityCommand,
  },
  {
    name: "call",
    summary: "call a method of a gateway",
    load: async () => (await import("./commands/call.ts")).callCommand,
  },
  {
    name: "explain",
    summary: "what an error code means, and what to do",
    load: async () => (await import("./commands/explain.ts")).explainCommand,
  },
  {
    name: "completion",
    summary: "a completion script for your shell",
    load: async (wholeProgram) => {
      const { completionCommand } = await import("./commands/completion.ts");
      return (context) => completionCommand(context, wholeProgram);
    },
  },
  {
    name: "demo",
    summary: "pair two throw-away gateways through SSH and show each step",
    load: async () => (await import("./commands/demo.ts")).demoCommand,
  },
];
