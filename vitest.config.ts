import { defineConfig } from "vitest/config";

// What a test reads must not depend on who runs it: without this a CI that asks for colours gets them in every text.
delete process.env.FORCE_COLOR;
process.env.NO_COLOR = "1";

/** Two workers run the files of `fast` one after another in shared modules: loading them anew took longer than the tests. */
const fast = { pool: "threads", maxWorkers: 2, testTimeout: 30_000 } as const;

// `fast` needs no server and takes about ten seconds; `simulation` drives the whole engine in memory through crashes,
// races and lost tables; `servers` talks to the real peers.
export default defineConfig({
  test: {
    reporters: ["default", "./test/countReporter.ts"],
    projects: [
      {
        test: {
          ...fast,
          name: "fast",
          include: ["test/fast/**/*.test.ts"],
          exclude: ["test/fast/api/**"],
          isolate: false,
        },
      },
      // These files put a world of their own in the place of the app's composition: each needs modules of its own.
      { test: { ...fast, name: "fast-api", include: ["test/fast/api/**/*.test.ts"] } },
      {
        test: {
          name: "simulation",
          include: ["test/simulation/**/*.test.ts"],
          maxWorkers: 2,
          testTimeout: 300_000,
          hookTimeout: 300_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: "servers",
          include: ["test/servers/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 180_000,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
