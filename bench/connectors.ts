/** What the connectors cost beside the directories' own time and memory: `npm run bench -- connectors [part …]`. */
interface Part {
  readonly question: string;
  run(size: Size): Promise<void>;
}

/** `quick` shows that a measurement works; its numbers mean little. */
export type Size = "whole" | "quick";

const parts: Readonly<Record<string, { readonly question: string; load(): Promise<Pick<Part, "run">> }>> = {
  graph: {
    question: "Graph: full import against a bare paging loop",
    load: () => import("./graphImport.ts"),
  },
  import: {
    question: "Active Directory: full import against ldapsearch",
    load: () => import("./adImport.ts"),
  },
  export: { question: "Active Directory: new accounts against ldapadd", load: () => import("./adExport.ts") },
  memory: { question: "Memory by population", load: () => import("./connectorMemory.ts") },
};

/** @param args names of parts, all without any; and `quick` */
export async function run(args: readonly string[]): Promise<void> {
  const names = args.filter((name) => name !== "quick");
  const unknown = names.find((name) => !Object.hasOwn(parts, name));
  if (unknown !== undefined) {
    throw new Error(
      `There is no part ${unknown}: ${Object.keys(parts).join(", ")}; quick for small numbers.`,
    );
  }
  for (const name of names.length === 0 ? Object.keys(parts) : names) {
    const { question, load } = parts[name]!;
    console.log(`\n${question}\n`);
    await (await load()).run(args.includes("quick") ? "quick" : "whole");
  }
}
