/** What the documents say of files, headings and packages is so. */
import { existsSync, globSync, readFileSync, statSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { describe, expect, test } from "vitest";

const documents = globSync([
  "*.md",
  "docs/**/*.md",
  "infra/**/*.md",
  "bench/**/*.md",
  "examples/**/*.md",
]).sort();
const read = (file: string) => readFileSync(file, "utf8");
const withoutCode = (text: string) => text.replace(/^(```|~~~).*?^\1/gms, "").replace(/`[^`\n]+`/g, "");

/** Of every heading, as GitHub makes them: https://github.com/gjtorikian/html-pipeline (TableOfContentsFilter). */
function anchorsOf(text: string): ReadonlySet<string> {
  const counts = new Map<string, number>();
  const anchors = new Set<string>();
  for (const [, heading] of text.replace(/^(```|~~~).*?^\1/gms, "").matchAll(/^#{1,6} +(.+?) *#*$/gm)) {
    const plain = heading!.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1");
    const anchor = plain
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\p{M}_ -]/gu, "")
      .replaceAll(" ", "-");
    const count = counts.get(anchor) ?? 0;
    counts.set(anchor, count + 1);
    anchors.add(count === 0 ? anchor : `${anchor}-${count}`);
  }
  return anchors;
}

interface Link {
  readonly file: string;
  readonly target: string;
}
const links = documents.flatMap((file): Link[] =>
  [...withoutCode(read(file)).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target]) => ({ file, target: target! }))
    .filter(({ target }) => !/^[a-z]+:/.test(target)),
);

describe("links", () => {
  test("lead to a file that is there, and to a heading that it has", () => {
    const broken = links.filter(({ file, target }) => {
      const [path, anchor] = target.split("#");
      const to = path === "" ? file : normalize(join(dirname(file), decodeURIComponent(path!)));
      if (!existsSync(to)) return true;
      return anchor !== undefined && !(statSync(to).isFile() && anchorsOf(read(to)).has(anchor));
    });
    expect(broken).toEqual([]);
    expect(links.length).toBeGreaterThan(60);
  });

  test("lead from the index to every document", () => {
    const listed = links
      .filter(({ file }) => file === "docs/README.md")
      .map(({ target }) => `docs/${target}`);
    const others = globSync("docs/*.md").filter((file) => file !== "docs/README.md");
    expect(others.filter((file) => !listed.includes(file))).toEqual([]);
  });

  test("of code and infrastructure lead to documents that are there", () => {
    const sources = globSync([
      "{src,cli,sandbox,scripts,config,infra}/**/*.{ts,yaml,bicep,ps1,kql,json}",
      "*.{json,yaml}",
    ]);
    const named = sources
      .filter((file) => file !== "package-lock.json")
      .flatMap((file) =>
        [...read(file).matchAll(/\bdocs\/[\w-]+\.md(?:#([\w-]+))?/g)].map(([link, anchor]) => ({
          file,
          link,
          anchor,
        })),
      );
    const broken = named.filter(({ link, anchor }) => {
      const path = link.split("#")[0]!;
      if (!existsSync(path)) return true;
      // A name that is put in later: some heading begins like that.
      const fits = (one: string) => (anchor?.endsWith("-") ? one.startsWith(anchor) : one === anchor);
      return anchor !== undefined && ![...anchorsOf(read(path))].some(fits);
    });
    expect(broken).toEqual([]);
    expect(named.length).toBeGreaterThan(3);
  });
});

describe("dependencies", () => {
  const { dependencies, devDependencies } = JSON.parse(read("package.json")) as Record<
    "dependencies" | "devDependencies",
    Record<string, string>
  >;
  const chapter = /^## Dependencies\n(.*?)^## /ms.exec(read("ARCHITECTURE.md"))![1]!;
  const [deployed, forDevelopment] = chapter.split("| for development |") as [string, string];
  const listed = (text: string) =>
    text
      .split("\n")
      .filter((line) => line.startsWith("| `"))
      .flatMap((line) => [...line.split("|")[1]!.matchAll(/`([^`]+)`/g)].map(([, name]) => name!))
      .sort();

  test("are pinned exactly", () => {
    const versions = Object.entries({ ...dependencies, ...devDependencies });
    expect(versions.filter(([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version))).toEqual([]);
  });

  test("stand in ARCHITECTURE.md, each with its reason, and no others do", () => {
    expect(listed(deployed)).toEqual(Object.keys(dependencies).sort());
    expect(listed(forDevelopment)).toEqual(Object.keys(devDependencies).sort());
  });

  test("are locked with the digest of what was tested, and none comes from an address of its own", () => {
    const { packages } = JSON.parse(read("package-lock.json")) as {
      packages: Record<string, { resolved?: string; integrity?: string; inBundle?: boolean }>;
    };
    const odd = Object.entries(packages).filter(
      ([folder, { resolved, integrity, inBundle }]) =>
        folder !== "" && inBundle !== true && (resolved !== undefined || !/^sha512-/.test(integrity ?? "")),
    );
    expect(odd.map(([folder]) => folder)).toEqual([]);
  });
});

describe("commands of the documents", () => {
  const sources = globSync("cli/*.ts").map(read).join("\n");
  const words = (pattern: RegExp) => new Set([...sources.matchAll(pattern)].map(([, word]) => word!));
  const commands = words(/\.command\(\s*"([a-z-]+)/g);
  const options = words(/(?:option|requiredOption|Option)\(\s*"(?:-\w, )?(--[a-z-]+)/gi);
  const called = documents.flatMap((file) =>
    [...read(file).matchAll(/(?:npm run vestibule -- |\bvestibule )([a-z-]+)\b([^\n|`]*)/g)]
      .filter(([all, word]) => all.startsWith("npm") || commands.has(word!) || all.includes(" --"))
      .map(([all, word, rest]) => ({ file, all: all!, word: word!, rest: rest! })),
  );

  test("are commands that there are, with options that there are", () => {
    expect(commands.size).toBeGreaterThan(20);
    expect(called.length).toBeGreaterThan(40);
    const wrong = called.filter(
      ({ word, rest }) =>
        !commands.has(word) ||
        [...rest.split("#")[0]!.matchAll(/\s(--[a-z-]+)/g)].some(([, option]) => !options.has(option!)),
    );
    expect(wrong).toEqual([]);
  });

  test("of npm are scripts that there are", () => {
    const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
    const named = documents.flatMap((file) =>
      [...read(file).matchAll(/npm run ([a-z:-]+)/g)].map(([, name]) => ({ file, name: name! })),
    );
    expect(named.filter(({ name }) => scripts[name] === undefined)).toEqual([]);
    expect(named.length).toBeGreaterThan(30);
  });
});
