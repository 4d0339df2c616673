"use strict";
document.documentElement.classList.add("js");

// Both clips of a player run together and one of them is muted, so that the switch is immediate.
const players = [];
const DRIFT = 0.02;

function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

for (const element of document.querySelectorAll(".player")) {
  const clips = [...element.querySelectorAll("audio")];
  const choices = [...element.querySelectorAll(".choice")];
  const waves = [...element.querySelectorAll(".wave")];
  const play = element.querySelector(".play");
  const seek = element.querySelector(".seek");
  const now = element.querySelector(".now");
  let active = clips.length - 1;

  function show() {
    const at = clips[active].currentTime;
    const whole = clips[active].duration || 1;
    element.style.setProperty("--at", at / whole);
    seek.value = at;
    seek.setAttribute("aria-valuetext", `${at.toFixed(1)} seconds`);
    now.textContent = clock(at);
  }

  function frame() {
    show();
    if (!clips[active].paused) requestAnimationFrame(frame);
  }

  function together() {
    const at = clips[active].currentTime;
    for (const clip of clips) if (Math.abs(clip.currentTime - at) > DRIFT) clip.currentTime = at;
  }

  function choose(which) {
    together();
    active = which;
    clips.forEach((clip, k) => (clip.muted = k !== which));
    choices.forEach((choice, k) => choice.setAttribute("aria-pressed", k === which));
    waves.forEach((wave, k) => wave.classList.toggle("active", k === which));
    show();
  }

  function stop() {
    clips.forEach((clip) => clip.pause());
    element.classList.remove("playing");
    play.setAttribute("aria-label", "Play");
    show();
  }

  async function start() {
    players.forEach((stopOther) => stopOther !== stop && stopOther());
    together();
    element.classList.add("playing");
    play.setAttribute("aria-label", "Pause");
    try {
      await Promise.all(clips.map((clip) => clip.play()));
      frame();
    } catch {
      stop();
    }
  }

  play.addEventListener("click", () => (clips[active].paused ? start() : stop()));
  choices.forEach((choice, k) => choice.addEventListener("click", () => choose(k)));
  seek.addEventListener("input", () => {
    clips.forEach((clip) => (clip.currentTime = seek.value));
    show();
  });
  clips.forEach((clip) => {
    clip.loop = true;
    const measure = () => {
      seek.max = clip.duration;
      element.querySelector(".length").textContent = clock(Math.round(clip.duration));
    };
    clip.addEventListener("loadedmetadata", measure);
    if (clip.readyState > 0) measure();
    clip.addEventListener("error", () => {
      now.textContent = "This browser cannot play FLAC.";
    });
  });
  players.push(stop);
  choose(active);
}

for (const chip of document.querySelectorAll("[data-pick]")) {
  chip.addEventListener("click", () => {
    const section = chip.closest("section");
    const picked = chip.getAttribute("aria-pressed") !== "true";
    for (const other of section.querySelectorAll("[data-pick]"))
      other.setAttribute("aria-pressed", picked && other === chip);
    section.classList.toggle("picked", picked);
    for (const line of section.querySelectorAll("[data-head]"))
      line.classList.toggle("on", picked && line.dataset.head === chip.dataset.pick);
  });
}
