// How alike two pictures are: PSNR, SSIM (Wang, Bovik, Sheikh, Simoncelli 2004) and a picture of the difference.
#pragma once
#include "media/picture.h"

namespace tessera {

// 10 log10(255^2 / mean squared difference) over all channels; infinite for equal pictures. Same sizes.
double Psnr(const Picture& picture, const Picture& reference);

// Mean structural similarity: gaussian windows of 11 x 11 with sigma 1.5 that lie inside the picture (smaller ones for
// pictures below 11 pixels), C1 = (0.01 * 255)^2, C2 = (0.03 * 255)^2, mean of the three channels. 1 for equal
// pictures.
double Ssim(const Picture& picture, const Picture& reference);

// |difference| * gain, cut off at 255.
Picture DifferencePicture(const Picture& picture, const Picture& reference, int gain);

}  // namespace tessera
