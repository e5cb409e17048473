"""Compare the texture and noise of phantom slices with those of real CT slices in a folder, as one Markdown table.

    python benchmarks/ct_statistics.py FOLDER [patients per class]

FOLDER holds square grey images of one size, exported with a lung window of -1250 to 250 HU (level -500, width 1500). The
phantom is drawn at the same size, one slice per patient. Body and lungs of both come from `gradfaith.data.lungs`, which
knows neither. Printed: the median over slices, and the quartiles.
"""

import itertools
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from gradfaith.data.lungs import body_mask, lung_mask
from gradfaith.data.readers import phantom

HU = 1500 / 255  # per grey value


def statistics(image):
    """Return the numbers of one slice, in Hounsfield units and pixels; None without lungs."""
    body, lungs, grey = body_mask(image), lung_mask(image), image.astype(float)
    inside, size = ndimage.binary_erosion(lungs, np.ones((5, 5))), len(image)
    tissue = ndimage.binary_erosion(body & ~ndimage.binary_dilation(lungs, np.ones((5, 5))), np.ones((9, 9)))
    above = np.zeros_like(body)
    above[size // 20 : size // 7, size // 3 : 2 * size // 3] = True
    above &= ~ndimage.binary_dilation(body, np.ones((15, 15)))
    if lungs.sum() < 500 or not above.any():
        return None
    grain = np.abs(grey - ndimage.uniform_filter(grey, 3))
    low, middle, high = np.percentile(grey[inside], [5, 50, 95]) * HU - 1250
    first, second, third = np.percentile(grey[tissue], [25, 50, 75]) * HU - 1250
    coarse, fine = slopes(grey)
    return {
        "air, median (HU)": np.median(grey[above]) * HU - 1250,
        "air, standard deviation (HU)": grey[above].std() * HU,
        "lung, 5th percentile (HU)": low,
        "lung, median (HU)": middle,
        "lung, 95th percentile (HU)": high,
        "lung, standard deviation (HU)": grey[inside].std() * HU,
        "soft tissue, 25th percentile (HU)": first,
        "soft tissue, median (HU)": second,
        "soft tissue, 75th percentile (HU)": third,
        "grain of soft tissue (HU)": np.median(grain[tissue]) * HU,
        "grain of lung (HU)": np.median(grain[inside]) * HU,
        "slope of the power spectrum, 0.02 to 0.1 cycles per pixel": coarse,
        "slope of the power spectrum, 0.1 to 0.45 cycles per pixel": fine,
        "width of the skin's edge, 10 to 90 % (pixels)": edge_width(grey, body),
    }


def slopes(grey):
    """Return the slope of log power over log frequency, in a low and a high band."""
    taper = np.hanning(len(grey))[:, None] * np.hanning(len(grey))
    power = np.abs(np.fft.rfft2((grey - grey.mean()) * taper)) ** 2
    frequency = np.hypot(np.fft.fftfreq(len(grey))[:, None], np.fft.rfftfreq(len(grey))[None, :])
    found = []
    for low, high in ((0.02, 0.1), (0.1, 0.45)):
        bins = np.geomspace(low, high, 7)
        rings = [power[(frequency >= a) & (frequency < b)].mean() for a, b in itertools.pairwise(bins)]
        found.append(np.polyfit(np.log(np.sqrt(bins[1:] * bins[:-1])), np.log(rings), 1)[0])
    return found


def edge_width(grey, body):
    """Return the median 10 to 90 % rise where rows enter the body from both sides, in its middle half."""
    widths, rows = [], np.flatnonzero(body.any(axis=1))
    for row in rows[len(rows) // 4 : 3 * len(rows) // 4]:
        for line, inside in ((grey[row], body[row]), (grey[row, ::-1], body[row, ::-1])):
            start = int(np.argmax(inside))
            profile = line[start - 6 : start + 7]
            if start < 8 or start + 7 >= len(line) or (low := np.median(profile[:4])) > np.median(profile[8:11]) - 60:
                continue
            share = (profile - low) / (np.median(profile[8:11]) - low)
            places = [first_crossing(share, level) for level in (0.1, 0.9)]
            widths.append(places[1] - places[0])
    return np.nanmedian(widths) if widths else np.nan


def first_crossing(share, level):
    """Return where a profile first rises through a level, between pixels."""
    found = np.flatnonzero((share[:-1] < level) & (share[1:] >= level))
    return found[0] + (level - share[found[0]]) / (share[found[0] + 1] - share[found[0]]) if len(found) else np.nan


def main(folder: str, patients: int = 30) -> None:
    """Print the table."""
    files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    real = [np.asarray(Image.open(path).convert("L")) for path in files]
    size = max({image.shape for image in real}, key=[image.shape for image in real].count)
    options = phantom.Options(size=size[0], patients_per_class=patients, slices_per_patient=1)
    drawn = [phantom.read(None, options, record, None).pixels for record in phantom.index(None, options)]
    sets = [[s for s in map(statistics, images) if s] for images in ([i for i in real if i.shape == size], drawn)]
    print(
        f"| {size[0]} x {size[1]} pixels | {len(sets[0])} real slices | {len(sets[1])} phantom slices |\n|---|---|---|"
    )
    for name in sets[0][0]:
        quartiles = [np.nanpercentile([slice_[name] for slice_ in chosen], [50, 25, 75]) for chosen in sets]
        form = "{:.0f} ({:.0f} to {:.0f})" if "HU" in name else "{:.2f} ({:.2f} to {:.2f})"
        print(f"| {name} | " + " | ".join(form.format(*values) for values in quartiles) + " |")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
