"use strict";
// A page of a run that goes on looks for a newer one: as often as it is written while it is, and
// less and less often where it is not any more. Times are in seconds.

const following = document.getElementById("following");
const [REFRESH, SILENCE] = [Number(following.dataset.refresh), Number(following.dataset.silence)];
const DAY = 86400;

// What a page that was written so long ago says, and when it is to be looked for again.
function pace(age) {
  if (age <= SILENCE) return { wait: REFRESH, said: "; this page follows the run" };
  const minutes = Math.round(age / 60);
  const long = minutes < 120 ? minutes + " minutes" : minutes < 2880 ? Math.round(minutes / 60) + " hours" : Math.round(minutes / 1440) + " days";
  const gone = ", and has not been written for " + long + ": its driver may be gone";
  if (age > DAY) return { wait: Infinity, said: gone + ". It no longer looks for news" };
  return { wait: Math.max(REFRESH, age / 4), said: gone };
}

(() => {
  const written = Date.parse(document.querySelector("#written time").dateTime);
  const now = () => pace((Date.now() - written) / 1000);
  const due = Date.now() + 1000 * now().wait;
  let touched = 0;
  for (const kind of ["pointerdown", "keydown", "wheel", "touchmove", "pointermove"]) addEventListener(kind, () => { touched = Date.now(); }, { passive: true });
  const say = () => {
    const { said } = now();
    if (following.textContent !== said) following.textContent = said;
  };
  say();
  setInterval(() => {
    say();
    const idle = Date.now() - touched > 10000;
    if (Date.now() >= due && idle && !document.hidden) location.reload();
  }, 1000 * Math.min(5, REFRESH));
})();
