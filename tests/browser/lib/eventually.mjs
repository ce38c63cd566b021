import { setTimeout as pause } from "node:timers/promises";

/**
 * Asks again until the answer is truthy, and returns it; after the deadline an
 * error says what was waited for and what the last answer was.
 */
export async function eventually(what, ask, deadlineMs = 15_000) {
  const deadline = Date.now() + deadlineMs;
  let last;
  do {
    try {
      const answer = await ask();
      if (answer) return answer;
      last = answer;
    } catch (error) {
      last = error;
    }
    await pause(50);
  } while (Date.now() < deadline);
  throw new Error(`waited ${deadlineMs} ms in vain: ${what} (last: ${last?.message ?? JSON.stringify(last)})`);
}
