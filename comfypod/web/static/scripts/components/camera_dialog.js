/** A photo from this computer's camera. */

import { announce } from "../notices.js";
import { html, useEffect, useRef, useState } from "../view.js";
import { Button } from "./button.js";
import { Dialog } from "./dialog.js";

const QUALITY = 0.92;
const REASONS = {
  NotAllowedError: "This page may not use the camera. Allow it in the browser's settings for this page.",
  NotFoundError: "This computer has no camera.",
  NotReadableError: "Another program uses the camera.",
};

/** @param {{onTake: (file: File) => void, onClose: () => void}} props */
export function CameraDialog({ onTake, onClose }) {
  const video = useRef(null);
  const [problem, setProblem] = useState("");
  const [isReady, setReady] = useState(false);
  useEffect(() => {
    let isGone = false;
    /** @type {MediaStream | null} */
    let stream = null;
    const stop = () => stream?.getTracks().forEach((track) => track.stop());
    navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 }, facingMode: "environment" } }).then(
      (opened) => {
        stream = opened;
        if (isGone) stop();
        else if (video.current) video.current.srcObject = opened;
      },
      (error) => setProblem(REASONS[error.name] ?? `The camera cannot be used: ${error.message}`),
    );
    return () => {
      isGone = true;
      stop();
    };
  }, []);
  const take = async () => {
    const source = video.current;
    if (!source) return;
    const canvas = new OffscreenCanvas(source.videoWidth, source.videoHeight);
    canvas.getContext("2d").drawImage(source, 0, 0);
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
    announce("The photo is taken.");
    onTake(new File([blob], "photo.jpg", { type: blob.type }));
    onClose();
  };
  const footer = html`<${Button} onClick=${onClose}>Cancel<//>
    <${Button} kind="primary" icon="camera" disabled=${!isReady} onClick=${take}>Take the photo<//>`;
  return html`<${Dialog} title="Camera" kind="dialog-camera" onClose=${onClose} footer=${footer}>
    ${
      problem
        ? html`<p class="problem" role="alert">${problem}</p>`
        : html`<video ref=${video} class="camera" autoplay muted playsinline aria-label="What the camera sees"
          onLoadedData=${() => setReady(true)}></video>`
    }
  <//>`;
}
